/* The servers of the daemon: one per user, or one for all with -M; started when the first client comes. */
#pragma once

#include "limits.h"

enum { MOST_SERVERS = 16, MOST_STREAMS = 256 };

struct server {
    pid_t pid; /* 0: this place is free */
    uid_t user;
    bool ready;
    struct limits limits;
};

enum role { ASKING, SERVER, CLIENT };

/* Who is connected: one that asks and goes, a server for its life, a client for its life. */
struct stream {
    int descriptor; /* -1: this place is free */
    enum role role;
    struct ucred peer;
    struct server *server; /* a client's, NULL while it waits for one */
    char line[LINES];
    size_t filled;
};

static struct {
    int journal;
    bool many_users;
    struct server servers[MOST_SERVERS];
    struct stream streams[MOST_STREAMS];
} me = {.journal = 2};

static int clients_of(const struct server *server) {
    int count = 0;
    for (int at = 0; at < MOST_STREAMS; at++)
        count += me.streams[at].descriptor >= 0 && me.streams[at].role == CLIENT && me.streams[at].server == server;
    return count;
}

static struct server *server_of_pid(pid_t pid) {
    for (int at = 0; pid > 0 && at < MOST_SERVERS; at++)
        if (me.servers[at].pid == pid) return &me.servers[at];
    return NULL;
}

static void run_server(uid_t user) {
    char program[PATHS], *slash;
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 64);
    program[length < 0 ? 0 : length] = 0;
    if (!(slash = strrchr(program, '/'))) _exit(127);
    strcpy(slash + 1, "nvidia-cuda-mps-server");
    if (user != geteuid() && (setgid((gid_t)user) || setuid(user))) _exit(126);
    execl(program, "nvidia-cuda-mps-server", (char *)NULL);
    _exit(127);
}

static struct server *start_server(uid_t user) {
    struct server *place = NULL;
    for (int at = 0; at < MOST_SERVERS && !place; at++)
        if (!me.servers[at].pid) place = &me.servers[at];
    if (!place) return NULL;
    pid_t pid = fork();
    if (pid < 0) return NULL;
    if (!pid) run_server(user);
    *place = (struct server){.pid = pid, .user = user, .limits = defaults};
    note(me.journal, "Control", "Starting new server %d for user %u", (int)pid, (unsigned)user);
    return place;
}

/* The server for a client of `user`: it is there, it is started, or another user's has to end first. */
static struct server *server_for(uid_t user) {
    struct server *idle = NULL;
    bool any = false;
    for (int at = 0; at < MOST_SERVERS; at++) {
        if (!me.servers[at].pid) continue;
        if (me.many_users || me.servers[at].user == user) return &me.servers[at];
        any = true;
        if (!clients_of(&me.servers[at])) idle = &me.servers[at];
    }
    if (idle) kill(idle->pid, SIGTERM); /* what waits is served when it has ended */
    return any ? NULL : start_server(user);
}

static void serve(struct stream *client) {
    if (client->server && client->server->ready) return;
    struct server *server = server_for(client->peer.uid);
    bool first = server && !server->ready;
    if (!server || first) {
        note(me.journal, "Control", "NEW CLIENT %d from user %u: Server is not ready, push client to pending list",
             (int)client->peer.pid, (unsigned)client->peer.uid);
        return;
    }
    client->server = server;
    note(me.journal, "Control", "NEW CLIENT %d from user %u: Server already exists", (int)client->peer.pid,
         (unsigned)client->peer.uid);
    dprintf(client->descriptor, "server %d percentage %.1f\n", (int)server->pid, server->limits.percentage);
}

static void serve_waiting(void) {
    for (int at = 0; at < MOST_STREAMS; at++)
        if (me.streams[at].descriptor >= 0 && me.streams[at].role == CLIENT && !me.streams[at].server)
            serve(&me.streams[at]);
}

static void hang_up(struct stream *stream) {
    close(stream->descriptor);
    stream->descriptor = -1;
}

static void reap(void) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct server *server = server_of_pid(pid);
        if (!server) continue;
        note(me.journal, "Control", "Server %d exited with status %d", (int)pid,
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        for (int at = 0; at < MOST_STREAMS; at++) /* clients die with their server */
            if (me.streams[at].descriptor >= 0 && me.streams[at].role == CLIENT && me.streams[at].server == server)
                hang_up(&me.streams[at]);
        *server = (struct server){0};
    }
    serve_waiting();
}
