/* nvidia-imex of an emulated node: joins the nodes of a file to one IMEX domain, as NVIDIA's daemon does, and exports no
 * memory, since there is none. Static: it runs in a container and in a chroot of the driver root, whatever is there.
 * Configuration keys, log lines and states are the real daemon's (IMEX guide); the wire is our own. */

#define _GNU_SOURCE
#include "server.h"

#include <getopt.h>
#include <sys/signalfd.h>

enum { FEW_MS = 20, MANY_MS = 250 };

static bool stopping, reload_asked;

static int find_own(const struct node_list *nodes) {
    struct address wanted = {0}, found;
    const char *given = *me.settings.bind_ip ? me.settings.bind_ip : me.settings.command_ip;
    if (*given && !parse_address(given, &wanted)) DIE("BIND_INTERFACE_IP=%s is no IP address", given);
    for (int node = 0; node < nodes->count; node++) {
        if (!resolve(nodes->names[node], me.settings.server_port, &found)) continue;
        if (*given ? same_host(&found, (struct sockaddr *)&wanted.place) : is_own(&found)) return node;
    }
    return -1;
}

static void own_address(int own, char *text, size_t room) {
    struct address address;
    if (*me.settings.bind_ip || !resolve(me.nodes.names[own], me.settings.server_port, &address)) {
        copy_text(text, room, me.settings.bind_ip);
        return;
    }
    const void *bytes = address.place.ss_family == AF_INET
                            ? (void *)&((struct sockaddr_in *)&address.place)->sin_addr
                            : (void *)&((struct sockaddr_in6 *)&address.place)->sin6_addr;
    inet_ntop(address.place.ss_family, bytes, text, (socklen_t)room);
}

static void reset_peer(int node) {
    me.peers[node] = (struct peer){.stream = -1, .retry_ms = FIRST_RETRY_MS};
    me.awaited[node] = false;
    links()[node] = NEVER;
}

/* Say of ourselves what we would hear from ourselves. */
static void describe_self(void) {
    struct told *self = &me.told[me.own];
    self->links[me.own] = CONNECTED;
    self->status = me.status;
    take_text(self->version, sizeof self->version, me.identity.driver);
    take_text(self->host, sizeof self->host, me.identity.host);
}

/* After a change of who we are every greeting has to be made again. */
static void greet_anew(int64_t now) {
    for (int node = 0; node < me.nodes.count; node++)
        if (node != me.own) {
            if (me.peers[node].phase != IDLE) lose(node, now);
            me.peers[node].retry_ms = FIRST_RETRY_MS;
            me.peers[node].retry_at = now;
        }
    for (int at = 0; at < MOST_INBOUND; at++)
        if (me.inbound[at].stream >= 0) drop(&me.inbound[at]);
}

/* Take a new list; nodes that the old one named already keep their connections and what they said. */
static void adopt_nodes(const struct node_list *fresh, int own) {
    static struct peer peers[MOST_NODES];
    static struct told told[MOST_NODES];
    static struct node_list old;
    old = me.nodes;
    enum link known[MOST_NODES];
    bool awaited[MOST_NODES], kept[MOST_NODES] = {false};
    int from = me.own;
    if (from >= 0) memcpy(known, links(), sizeof known);
    memcpy(peers, me.peers, sizeof peers);
    memcpy(told, me.told, sizeof told);
    memcpy(awaited, me.awaited, sizeof awaited);
    me.nodes = *fresh;
    me.own = own;
    memset(me.told, 0, sizeof me.told);
    for (int node = 0; node < MOST_NODES; node++) reset_peer(node);
    for (int node = 0; node < fresh->count && from >= 0; node++)
        for (int was = 0; was < old.count; was++)
            if (was != from && node != own && !kept[was] && !strcmp(fresh->names[node], old.names[was])) {
                kept[was] = true;
                me.peers[node] = peers[was];
                links()[node] = known[was];
                me.awaited[node] = awaited[was];
                me.told[node] = told[was];
            }
    for (int was = 0; from >= 0 && was < old.count; was++)
        if (!kept[was] && was != from && peers[was].stream >= 0) close(peers[was].stream);
    me.identity.node_map = fresh->map;
    me.identity.index = (uint32_t)own;
    describe_self();
}

/* Addresses that names had are forgotten: whoever signals says that they may be others now. */
static void forget_addresses(void) {
    for (int node = 0; node < me.nodes.count; node++) me.peers[node].address.length = 0;
    forget_dns();
}

/* SIGUSR1 only: a changed file changes nothing by itself, as with the real daemon, whose users restart it. The list in
 * force stays when the new one is no list, or not ours. */
static void reload(int64_t now) {
    static struct node_list fresh;
    reload_asked = false;
    if (!read_nodes(me.settings.nodes_file, &fresh)) return;
    int own = find_own(&fresh);
    if (own < 0) {
        note(ERROR, "%s does not list this node; the former list stays in force", me.settings.nodes_file);
        return;
    }
    note(INFO, "Nodes configuration read again: %d nodes", fresh.count);
    adopt_nodes(&fresh, own);
    forget_addresses();
    greet_anew(now);
    persist_importers();
}

static void look_at_names(int64_t now) {
    struct answer answer;
    bool wanted[MOST_NODES] = {false}, any = false;
    while (dns_answer(&answer))
        if (answer.node < me.nodes.count && answer.node != me.own && !me.peers[answer.node].address.length) {
            me.peers[answer.node].address = answer.address;
            me.peers[answer.node].retry_at = now;
        }
    for (int node = 0; node < me.nodes.count; node++)
        any |= wanted[node] = node != me.own && me.peers[node].phase == IDLE && !me.peers[node].address.length;
    if (any && now >= resolver.again_at) ask_dns(&me.nodes, wanted, me.settings.server_port);
}

static void look_at_gpus(int64_t now) {
    if (me.settings.nogpu) return;
    if (driver_is_gone()) {
        note(CRITICAL, "the NVIDIA driver is gone");
        exit(1);
    }
    struct fabric fresh = read_fabric();
    bool moved = fresh.any && (fresh.clique != me.fabric.clique || memcmp(fresh.cluster, me.fabric.cluster, 16));
    if (!fresh.any) fresh = (struct fabric){.clique = me.fabric.clique}, memcpy(fresh.cluster, me.fabric.cluster, 16);
    me.fabric = fresh;
    if (!moved) return;
    note(WARNING, "this node is in another NVLink clique now");
    me.identity.clique = fresh.clique;
    memcpy(me.identity.cluster, fresh.cluster, sizeof fresh.cluster);
    greet_anew(now);
}

static void look_at_status(void) {
    enum status next = next_status(me.status, me.settings.quorum, me.settings.nogpu || me.fabric.complete, links(),
                                   me.awaited, me.nodes.count);
    if (next != me.status) note(INFO, "Status: %s", status_names[next]);
    me.status = next;
    describe_self();
}

/* Once in some seconds, as the IMEX guide says: what comes sooner is not done later, it is not done. */
static void ask_reload(int64_t now) {
    static int64_t next;
    if (now < next) {
        note(WARNING, "SIGUSR1 is ignored: the last one was less than %ld ms ago", me.settings.signal_ms);
        return;
    }
    next = now + me.settings.signal_ms;
    reload_asked = true;
}

static void take_signals(int signals, int64_t now) {
    struct signalfd_siginfo said;
    while (read(signals, &said, sizeof said) == (ssize_t)sizeof said) {
        if (said.ssi_signo == SIGUSR1) ask_reload(now);
        else if (said.ssi_signo != SIGHUP) stopping = true;
    }
}

static int open_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP};
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++) sigaddset(&set, numbers[at]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

enum { MOST_POLLED = 5 + MOST_NODES + MOST_INBOUND + MOST_COMMANDS };
static struct pollfd polled[MOST_POLLED];
static void *owners[MOST_POLLED];

static nfds_t watch(nfds_t count, int stream, short events, void *owner) {
    if (stream < 0) return count;
    polled[count] = (struct pollfd){stream, events, 0};
    owners[count] = owner;
    return count + 1;
}

static nfds_t collect(int signals) {
    nfds_t count = watch(0, signals, POLLIN, &stopping);
    count = watch(count, me.listener, POLLIN, &me.listener);
    count = watch(count, me.command_tcp, POLLIN, &me.command_tcp);
    count = watch(count, me.command_unix, POLLIN, &me.command_unix);
    if (!me.settings.nogpu) count = watch(count, driver.stream, POLLIN, &driver);
    for (int node = 0; node < me.nodes.count; node++)
        count = watch(count, me.peers[node].stream, me.peers[node].phase == CONNECTING ? POLLOUT : POLLIN, &me.peers[node]);
    for (int at = 0; at < MOST_INBOUND; at++) count = watch(count, me.inbound[at].stream, POLLIN, &me.inbound[at]);
    for (int at = 0; at < MOST_COMMANDS; at++) count = watch(count, me.commands[at].stream, POLLIN, &me.commands[at]);
    return count;
}

static bool within(const void *at, const void *array, size_t bytes) {
    return (uintptr_t)at - (uintptr_t)array < bytes;
}

static void serve(int stream, void *owner, int64_t now) {
    int64_t soon = now + me.settings.peer_timeout_ms;
    if (owner == &stopping) take_signals(stream, now);
    else if (owner == &me.listener) take_stream(stream, me.inbound, MOST_INBOUND, soon);
    else if (owner == &me.command_tcp || owner == &me.command_unix)
        take_stream(stream, me.commands, MOST_COMMANDS, now + COMMAND_MS);
    else if (within(owner, me.peers, sizeof me.peers) && ((struct peer *)owner)->stream == stream)
        read_peer((int)((struct peer *)owner - me.peers), now);
    else if (within(owner, me.inbound, sizeof me.inbound) && ((struct inbound *)owner)->stream == stream)
        read_inbound(owner, now);
    else if (within(owner, me.commands, sizeof me.commands) && ((struct inbound *)owner)->stream == stream)
        read_command(owner);
}

static void tend(int64_t now) {
    look_at_gpus(now);
    if (reload_asked) reload(now);
    look_at_names(now);
    for (int node = 0; node < me.nodes.count; node++)
        if (node != me.own) tend_peer(node, now);
    for (int at = 0; at < MOST_INBOUND; at++)
        if (me.inbound[at].stream >= 0 && now >= me.inbound[at].deadline) drop(&me.inbound[at]);
    for (int at = 0; at < MOST_COMMANDS; at++)
        if (me.commands[at].stream >= 0 && now >= me.commands[at].deadline) drop(&me.commands[at]);
    look_at_status();
}

static void run(int signals) {
    long tick = me.settings.keepalive_ms / 2;
    tick = tick < FEW_MS ? FEW_MS : tick > MANY_MS ? MANY_MS : tick;
    while (!stopping) {
        nfds_t count = collect(signals);
        int ready = poll(polled, count, (int)tick);
        int64_t now = milliseconds();
        for (nfds_t at = 0; ready > 0 && at < count; at++)
            if (polled[at].revents) serve(polled[at].fd, owners[at], now);
        tend(now);
    }
}

static void say_goodbye(void) {
    note(INFO, "Shutting down");
    me.status = SHUTTING_DOWN;
    for (int node = 0; node < me.nodes.count; node++)
        if (me.peers[node].phase == TALKING) send_frame(me.peers[node].stream, GOODBYE, NULL, 0);
    for (int at = 0; at < MOST_INBOUND; at++)
        if (me.inbound[at].stream >= 0 && me.inbound[at].index >= 0) send_frame(me.inbound[at].stream, GOODBYE, NULL, 0);
    persist(false);
    if (*me.settings.command_socket) unlink(me.settings.command_socket);
}

static void identify(void) {
    gethostname(me.identity.host, sizeof me.identity.host - 1);
    if (getrandom(&me.identity.instance, sizeof me.identity.instance, 0) < 0)
        me.identity.instance = (uint64_t)milliseconds() << 20 ^ (uint64_t)getpid();
    if (me.settings.nogpu) {
        copy_text(me.identity.driver, sizeof me.identity.driver, "NO_GPU");
        return;
    }
    if (!open_driver(me.settings.root))
        DIE("no NVIDIA driver answers at %s/run/nvidia-persistenced/socket; --nogpu runs without one", me.settings.root);
    need_capability(me.settings.root);
    snprintf(me.identity.driver, sizeof me.identity.driver, "%.31s", driver_version());
    me.fabric = read_fabric();
    if (!me.fabric.any) DIE("no GPU of this node can join an NVLink fabric");
    me.identity.clique = me.fabric.clique;
    memcpy(me.identity.cluster, me.fabric.cluster, sizeof me.identity.cluster);
}

static void open_services(void) {
    char ip[64] = "";
    own_address(me.own, ip, sizeof ip);
    me.listener = listen_at(ip, me.settings.server_port);
    if (me.settings.command_enabled && me.settings.command_port)
        me.command_tcp = listen_at(*me.settings.command_ip ? me.settings.command_ip : "0.0.0.0", me.settings.command_port);
    if (me.settings.command_enabled && *me.settings.command_socket)
        me.command_unix = listen_unix(me.settings.command_socket);
    note(INFO, "IMEX library communication bind port = %ld", me.settings.server_port);
    note(INFO, "Identified this node as ID %d, using bind IP of '%s'", me.own, ip);
}

static void start(void) {
    struct node_list nodes;
    for (int at = 0; at < MOST_INBOUND; at++) me.inbound[at].stream = -1;
    for (int at = 0; at < MOST_COMMANDS; at++) me.commands[at].stream = -1;
    if (!read_nodes(me.settings.nodes_file, &nodes)) exit(1);
    int own = find_own(&nodes);
    if (own < 0) DIE("%s does not list this node: set BIND_INTERFACE_IP to its line", me.settings.nodes_file);
    me.status = INITIALIZING;
    identify();
    adopt_nodes(&nodes, own);
    open_services();
    if (me.settings.quorum == QUORUM_RECOVERY) recall();
    if (me.settings.quorum != QUORUM_FULL)
        note(INFO, "IMEX_WAIT_FOR_QUORUM != FULL, continuing initialization without waiting for connections to all nodes.");
}

static void open_log(void) {
    journal.level = (int)me.settings.log_level;
    if (!*me.settings.log_file) return;
    make_folders(me.settings.log_file);
    journal.file = fopen(me.settings.log_file, me.settings.log_append ? "ae" : "we");
    if (!journal.file) note(WARNING, "cannot log to %s: %s; logging here", me.settings.log_file, strerror(errno));
}

/* The parent leaves once the child listens, so that a service manager of kind `forking` sees failures. */
static void detach(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) DIE("cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) DIE("cannot fork: %s", strerror(errno));
    if (child) {
        char byte;
        close(ends[1]);
        exit(read(ends[0], &byte, 1) == 1 ? 0 : 1);
    }
    setsid();
    start();
    if (write(ends[1], "", 1) != 1) note(WARNING, "whoever started this daemon is gone");
    close(ends[1]);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int stream = 0; nothing >= 0 && stream <= (journal.file ? 2 : 1); stream++) dup2(nothing, stream);
}

int main(int count, char **arguments) {
    static const struct option options[] = {
        {"config", 1, NULL, 'c'}, {"nogpu", 0, NULL, 'n'}, {"version", 0, NULL, 'v'}, {"help", 0, NULL, 'h'}, {0}};
    set_defaults(&me.settings);
    for (int option; (option = getopt_long(count, arguments, "c:vh", options, NULL)) != -1;) {
        if (option == 'c') copy_text(me.settings.file, sizeof me.settings.file, optarg);
        else if (option == 'n') me.settings.nogpu = true;
        else if (option == 'v') return puts("IMEX version is: emulated by claimwright"), 0;
        else return fprintf(option == 'h' ? stdout : stderr, "Usage: nvidia-imex [-c <config.cfg>] [--nogpu]\n"), option != 'h';
    }
    read_settings(&me.settings);
    open_log();
    signal(SIGPIPE, SIG_IGN);
    int signals = open_signals();
    if (me.settings.daemonize) detach();
    else start();
    run(signals);
    say_goodbye();
    return 0;
}
