/* nvidia-imex-ctl of an emulated node: asks the node's nvidia-imex over its command service. Static, as the daemon is. */

#define _GNU_SOURCE
#include "gpus.h"

#include <getopt.h>

enum { WAIT_SECONDS = 5, MOST_TEXT = 1 << 20 };

struct asked {
    struct settings settings;
    const char *socket, *ip, *port;
    bool query, domain, watch, json, hosts;
};

__attribute__((noreturn)) static void usage(int status) {
    fputs("Usage: nvidia-imex-ctl [-i <IP> <PORT>|-u <unix domain socket path>|-c <nvidia-imex config.cfg path>] <-n|-N|-q>\n"
          "  -q: status of this node (exit status 0 when it is READY)\n"
          "  -N: status of the whole IMEX domain; -n: the same, again and again\n"
          "  -j: as JSON; -H: with host names\n", status ? stderr : stdout);
    exit(status);
}

static int connect_tcp(const char *ip, long port) {
    struct address address;
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    if (!parse_address(ip, &address)) return errno = EINVAL, -1;
    set_port(&address, port);
    int made = socket(address.place.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect, too */
    if (connect(made, (struct sockaddr *)&address.place, address.length)) return close(made), -1;
    return made;
}

static int reach(const struct asked *asked) {
    const struct settings *settings = &asked->settings;
    if (asked->socket) return connect_unix(asked->socket);
    if (asked->ip) return connect_tcp(asked->ip, strtol(asked->port, NULL, 10));
    if (*settings->command_socket) return connect_unix(settings->command_socket);
    if (settings->command_port)
        return connect_tcp(*settings->command_ip ? settings->command_ip : "127.0.0.1", settings->command_port);
    return errno = ENOTCONN, -1;
}

/* Ask one thing and read the answer to its end; the program ends here when there is none. */
static char *ask(const struct asked *asked, const char *request) {
    static char text[MOST_TEXT];
    size_t used = 0;
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    int stream = reach(asked);
    if (stream >= 0) setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (stream < 0 || send(stream, request, strlen(request), MSG_NOSIGNAL) < 0) {
        fprintf(stderr, "Failed to connect to the nvidia-imex command service: %s\n", strerror(errno));
        exit(1);
    }
    for (ssize_t got; used + 1 < sizeof text && (got = read(stream, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    close(stream);
    text[used] = 0;
    if (!used || text[used - 1] != '\n') {
        fputs("nvidia-imex gave no whole answer\n", stderr);
        exit(1);
    }
    return text;
}

struct row {
    char *name, *status, *version, *host;
    long links[MOST_NODES];
};

struct table {
    char state[16];
    int own, count;
    struct row rows[MOST_NODES];
};

static void read_table(char *text, struct table *out) {
    char *line = strsep(&text, "\n");
    if (sscanf(line, "domain %15s %d %d", out->state, &out->own, &out->count) != 3 || out->count > MOST_NODES) {
        fprintf(stderr, "nvidia-imex answered: %s\n", line);
        exit(1);
    }
    for (int node = 0; node < out->count; node++) {
        struct row *row = &out->rows[node];
        line = strsep(&text, "\n");
        strsep(&line, " ");
        row->name = strsep(&line, " "), row->status = strsep(&line, " ");
        row->version = strsep(&line, " "), row->host = strsep(&line, " ");
        if (row->version && !strcmp(row->version, "-")) row->version = "";
        if (row->host && !strcmp(row->host, "-")) row->host = "";
        for (int other = 0; line && other < out->count; other++) {
            row->links[other] = strtol(line, &line, 10);
            if (row->links[other] < 0 || row->links[other] >= LINKS) row->links[other] = INVALID;
        }
    }
}

static const char *when(void) {
    static char text[64];
    struct timeval now;
    struct tm parts;
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &parts);
    snprintf(text, sizeof text, "%d/%d/%d %02d:%02d:%02d.%03d", parts.tm_mon + 1, parts.tm_mday, parts.tm_year + 1900,
             parts.tm_hour, parts.tm_min, parts.tm_sec, (int)(now.tv_usec / 1000));
    return text;
}

static void print_table(const struct table *table, bool hosts) {
    puts("Connectivity Table Legend:\n"
         "I - Invalid - Node wasn't reachable, no connection status available\n"
         "N - Never Connected\n"
         "R - Recovering - Connection was lost, but clean up has not yet been triggered.\n"
         "D - Disconnected - Connection was lost, and clean up has been triggreed.\n"
         "A - Authenticating - If GSSAPI enabled, client has initiated mutual authentication.\n"
         "!V! - Version mismatch, communication disabled.\n"
         "!M! - Node map mismatch, communication disabled.\n"
         "!K! - Other NVLink clique, communication disabled (emulated nodes only).\n"
         "C - Connected - Ready for operation\n");
    printf("%s\nNodes:\n", when());
    for (int node = 0; node < table->count; node++) {
        const struct row *row = &table->rows[node];
        char sign = node == table->own ? '*' : '-';
        printf("Node #%-3d %c %-15s %c %s%s%-20s", node, sign, row->name, sign, hosts ? row->host : "", hosts ? " - " : "",
               row->status);
        if (*row->version) printf(" - Version: %s", row->version);
        putchar('\n');
    }
    printf("\n Nodes From\\To");
    for (int node = 0; node < table->count; node++) printf("  %-2d", node);
    putchar('\n');
    for (int from = 0; from < table->count; from++) {
        printf("       %-6d", from);
        for (int to = 0; to < table->count; to++) printf("  %-2s", link_signs[table->rows[from].links[to]]);
        putchar('\n');
    }
    printf("Domain State: %s\n", table->state);
}

static void print_json(const struct table *table) {
    fputs("{\"nodes\":{", stdout);
    for (int node = 0; node < table->count; node++) {
        const struct row *row = &table->rows[node];
        printf("%s\"%d\":{\"status\":\"%s\",\"host\":\"%s\",\"connections\":{", node ? "," : "", node, row->status, row->name);
        for (int other = 0; other < table->count; other++)
            printf("%s\"%d\":{\"host\":\"%s\",\"status\":\"%s\",\"changed\":false}", other ? "," : "", other,
                   table->rows[other].name, link_names[row->links[other]]);
        printf("},\"changed\":false,\"version\":\"%s\",\"hostname\":\"%s\"}", row->version, row->host);
    }
    printf("},\"timestamp\":\"%s\",\"status\":\"%s\"}\n", when(), table->state);
}

static void show_domain(const struct asked *asked) {
    static struct table table;
    read_table(ask(asked, "domain\n"), &table);
    if (asked->json) print_json(&table);
    else print_table(&table, asked->hosts);
    fflush(stdout);
}

int main(int count, char **arguments) {
    static struct asked asked;
    static const struct option options[] = {{"u", 1, NULL, 'u'}, {"help", 0, NULL, 'h'}, {0}};
    journal.level = 0; /* a daemon's unknown keys are its own business: only answers are printed */
    set_defaults(&asked.settings);
    for (int option; (option = getopt_long(count, arguments, "c:u:i:qNnjHht:", options, NULL)) != -1;) {
        if (option == 'c') copy_text(asked.settings.file, sizeof asked.settings.file, optarg);
        else if (option == 'u') asked.socket = optarg;
        else if (option == 'i' && optind < count) asked.ip = optarg, asked.port = arguments[optind++];
        else if (option == 'q') asked.query = true;
        else if (option == 'N') asked.domain = true;
        else if (option == 'n') asked.watch = true;
        else if (option == 'j') asked.json = true;
        else if (option == 'H') asked.hosts = true;
        else if (option != 't') usage(option != 'h');
    }
    if (asked.query + asked.domain + asked.watch != 1) usage(1);
    if (!asked.socket && !asked.ip) {
        if (access(asked.settings.file, R_OK)) {
            fprintf(stderr, "cannot read the configuration %s: %s\n", asked.settings.file, strerror(errno));
            return 1;
        }
        read_settings(&asked.settings);
    }
    if (asked.query) {
        const char *status = ask(&asked, "status\n");
        fputs(status, stdout);
        return strcmp(status, "READY\n") != 0;
    }
    for (show_domain(&asked); asked.watch; sleep(1)) show_domain(&asked);
    return 0;
}
