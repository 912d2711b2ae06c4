/* The commands of `nvidia-cuda-mps-control`, answered as text (MPS guide, "nvidia-cuda-mps-control"). */
#pragma once

#include "servers.h"

enum { WORDS = 5 };
static bool stopping;

static void list_servers(int to) {
    for (int at = 0; at < MOST_SERVERS; at++)
        if (me.servers[at].pid && me.servers[at].ready) dprintf(to, "%d\n", (int)me.servers[at].pid);
}

static void list_clients(int to, const struct server *server) {
    for (int at = 0; at < MOST_STREAMS; at++)
        if (me.streams[at].descriptor >= 0 && me.streams[at].role == CLIENT && me.streams[at].server == server)
            dprintf(to, "%d\n", (int)me.streams[at].peer.pid);
}

static void percentage(int to, struct limits *limits, const char *given) {
    if (given && !parse_percentage(given, &limits->percentage)) {
        dprintf(to, "Invalid active thread percentage: %s\n", given);
        return;
    }
    dprintf(to, "%.1f\n", limits->percentage);
}

static void pinned_memory(int to, struct limits *limits, const char *device, const char *given) {
    char known[DEVICE];
    uint64_t bytes;
    if (!device || !find_device(device, known)) {
        dprintf(to, "Invalid device: %s\n", device ? device : "");
        return;
    }
    if (given && !parse_amount(given, &bytes)) {
        dprintf(to, "Invalid memory limit: %s\n", given);
        return;
    }
    if (given) set_amount(limits, known, bytes);
    else if ((bytes = amount_of(limits, known))) dprintf(to, "%lluM\n", (unsigned long long)(bytes >> 20));
    else dprintf(to, "No limit set\n");
}

static void shut_down(int to, const struct server *server, bool force) {
    if (!force && clients_of(server)) {
        dprintf(to, "Server %d has clients; use -f to end it anyway\n", (int)server->pid);
        return;
    }
    kill(server->pid, SIGTERM);
}

/* Commands whose first argument is the PID of a server; true when `words` was one of them. */
static bool of_server(int to, char **words, int count) {
    static const char *const names[] = {"get_client_list", "shutdown_server", "set_active_thread_percentage",
                                        "get_active_thread_percentage", "set_device_pinned_mem_limit",
                                        "get_device_pinned_mem_limit", "get_server_status"};
    int which = 0, known = sizeof names / sizeof *names;
    while (which < known && strcmp(words[0], names[which])) which++;
    if (which == known) return false;
    struct server *server = server_of_pid(count > 1 ? (pid_t)atol(words[1]) : 0);
    const char *third = count > 2 ? words[2] : NULL, *fourth = count > 3 ? words[3] : NULL;
    if (!server) dprintf(to, "Server %s not found\n", count > 1 ? words[1] : "");
    else if (which == 0) list_clients(to, server);
    else if (which == 1) shut_down(to, server, third && !strcmp(third, "-f"));
    else if (which == 2) percentage(to, &server->limits, third ? third : "");
    else if (which == 3) percentage(to, &server->limits, NULL);
    else if (which == 4) pinned_memory(to, &server->limits, third, fourth ? fourth : "");
    else if (which == 5) pinned_memory(to, &server->limits, third, NULL);
    else dprintf(to, "%s\n", server->ready ? "ACTIVE" : "INITIALIZING");
    return true;
}

static void quit(int to) {
    for (int at = 0; at < MOST_SERVERS; at++)
        if (me.servers[at].pid) kill(me.servers[at].pid, SIGTERM);
    (void)to;
    stopping = true;
}

static void command(int to, char *line) {
    char *words[WORDS], *rest = NULL;
    int count = 0;
    for (char *word = strtok_r(line, " \t\r\n", &rest); word && count < WORDS; word = strtok_r(NULL, " \t\r\n", &rest))
        words[count++] = word;
    if (!count) return;
    const char *second = count > 1 ? words[1] : NULL, *third = count > 2 ? words[2] : NULL;
    if (!strcmp(words[0], "get_server_list")) list_servers(to);
    else if (!strcmp(words[0], "quit")) quit(to);
    else if (!strcmp(words[0], "set_default_active_thread_percentage")) percentage(to, &defaults, second ? second : "");
    else if (!strcmp(words[0], "get_default_active_thread_percentage")) percentage(to, &defaults, NULL);
    else if (!strcmp(words[0], "set_default_device_pinned_mem_limit"))
        pinned_memory(to, &defaults, second, third ? third : "");
    else if (!strcmp(words[0], "get_default_device_pinned_mem_limit")) pinned_memory(to, &defaults, second, NULL);
    else if (!strcmp(words[0], "start_server")) {
        if (!second || strcmp(second, "-uid") || !third) dprintf(to, "Usage: start_server -uid <user id>\n");
        else server_for((uid_t)atol(third));
    } else if (!of_server(to, words, count)) dprintf(to, "Unrecognized command\n");
}
