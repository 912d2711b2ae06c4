/* nvidia-cuda-mps-control of an emulated node: `-d` (or `-f`, in the foreground) is the daemon that starts servers and
 * remembers limits; without an option it sends the lines of its standard input to the daemon and prints what it answers.
 * Static, so that it runs in a chroot of the driver root. There is no silicon: clients connect, and compute nothing. */

#include "commands.h"

#include <sys/signalfd.h>

static int listen_at(const char *name, mode_t mode) {
    struct sockaddr_un address;
    if (!control_address(&address, name)) return -1;
    unlink(address.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || chmod(address.sun_path, mode) ||
        listen(listener, 64))
        return -1;
    return listener;
}

static void welcome(int listener) {
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct stream *place = NULL;
    for (int at = 0; at < MOST_STREAMS && !place; at++)
        if (me.streams[at].descriptor < 0) place = &me.streams[at];
    if (descriptor < 0 || !place) {
        if (descriptor >= 0) close(descriptor);
        return;
    }
    *place = (struct stream){.descriptor = descriptor};
    socklen_t size = sizeof place->peer;
    getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &place->peer, &size);
}

static void server_is_ready(struct stream *stream) {
    struct server *server = server_of_pid(stream->peer.pid);
    if (!server) {
        hang_up(stream);
        return;
    }
    stream->role = SERVER;
    server->ready = true;
    note(me.journal, "Control", "NEW SERVER %d: Ready", (int)server->pid);
    serve_waiting();
}

static void take_line(struct stream *stream, char *line) {
    if (!strcmp(line, "@server")) server_is_ready(stream);
    else if (!strcmp(line, "@client")) {
        stream->role = CLIENT;
        serve(stream);
    } else {
        command(stream->descriptor, line);
        hang_up(stream);
    }
}

static void listen_to(struct stream *stream) {
    ssize_t got = recv(stream->descriptor, stream->line + stream->filled, sizeof stream->line - 1 - stream->filled, 0);
    if (got <= 0) {
        hang_up(stream);
        return;
    }
    stream->filled += (size_t)got;
    stream->line[stream->filled] = 0;
    char *end = strchr(stream->line, '\n');
    if (end) {
        *end = 0;
        stream->filled = 0;
        take_line(stream, stream->line);
    } else if (stream->filled == sizeof stream->line - 1) hang_up(stream);
}

static void take_signal(int signals) {
    struct signalfd_siginfo said;
    while (read(signals, &said, sizeof said) == (ssize_t)sizeof said) {
        if (said.ssi_signo == SIGCHLD) reap();
        else quit(-1);
    }
}

static int open_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void run(int listener, int privileged, int signals) {
    for (int at = 0; at < MOST_STREAMS; at++) me.streams[at].descriptor = -1;
    while (!stopping) {
        struct pollfd polled[3 + MOST_STREAMS] = {{listener, POLLIN, 0}, {privileged, POLLIN, 0}, {signals, POLLIN, 0}};
        struct stream *owners[3 + MOST_STREAMS];
        nfds_t count = 3;
        for (int at = 0; at < MOST_STREAMS; at++)
            if (me.streams[at].descriptor >= 0) {
                owners[count] = &me.streams[at];
                polled[count++] = (struct pollfd){me.streams[at].descriptor, POLLIN, 0};
            }
        if (poll(polled, count, -1) < 0) continue;
        for (int at = 0; at < 2; at++)
            if (polled[at].revents) welcome(polled[at].fd);
        for (nfds_t at = 3; at < count; at++)
            if (polled[at].revents && owners[at]->descriptor == polled[at].fd) listen_to(owners[at]);
        if (polled[2].revents) take_signal(signals);
    }
}

static void remove_files(void) {
    static const char *const names[] = {"control", "control_privileged", "log", "nvidia-cuda-mps-control.pid"};
    struct sockaddr_un address;
    for (size_t at = 0; at < sizeof names / sizeof *names; at++)
        if (control_address(&address, names[at])) unlink(address.sun_path);
}

static void write_pid(void) {
    struct sockaddr_un address;
    control_address(&address, "nvidia-cuda-mps-control.pid");
    int file = open(address.sun_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    dprintf(file, "%d\n", (int)getpid());
    close(file);
}

static int open_journal(void) {
    char path[PATHS];
    const char *folder = from_environment("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps");
    snprintf(path, sizeof path, "%.4000s/control.log", folder);
    mkdir(folder, 0755);
    int journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return journal < 0 ? 2 : journal;
}

static int be_daemon(void) {
    struct sockaddr_un address;
    me.journal = open_journal();
    control_address(&address, "log");
    mkfifo(address.sun_path, 0666);
    int signals = open_signals();
    int privileged = listen_at("control_privileged", 0700);
    write_pid();
    int listener = listen_at("control", 0666);
    if (listener < 0 || privileged < 0 || signals < 0) {
        note(me.journal, "Control", "%s/control cannot be used: %s", pipe_folder(), strerror(errno));
        return 1;
    }
    note(me.journal, "Control", "Starting control daemon using socket %s/control", pipe_folder());
    note(me.journal, "Control", "To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY=%s",
         pipe_folder());
    run(listener, privileged, signals);
    while (waitpid(-1, NULL, 0) > 0) continue;
    note(me.journal, "Control", "Exit");
    remove_files();
    return 0;
}

static bool is_alone(void) {
    struct sockaddr_un address;
    mkdir(pipe_folder(), 0755);
    if (!control_address(&address, "control_lock")) return false;
    int lock = open(address.sun_path, O_RDWR | O_CREAT, 0666); /* held for life */
    return lock >= 0 && !flock(lock, LOCK_EX | LOCK_NB);
}

static int start(bool background) {
    if (!is_alone()) {
        fprintf(stderr, "An instance of this daemon is already running\n");
        return 1;
    }
    if (background) {
        pid_t pid = fork();
        if (pid) return pid < 0;
        setsid();
        int nothing = open("/dev/null", O_RDWR);
        for (int standard = 0; nothing >= 0 && standard < 3; standard++) dup2(nothing, standard);
    }
    return be_daemon();
}

/* One connection per line: what the daemon answers ends with the connection. */
static int ask(const char *line) {
    char text[LINES];
    int stream = connect_control();
    if (stream < 0) {
        fprintf(stderr, "Cannot find MPS control daemon process\n");
        return 1;
    }
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    dprintf(stream, "%s\n", line);
    for (ssize_t got; (got = recv(stream, text, sizeof text, 0)) > 0;) fwrite(text, 1, (size_t)got, stdout);
    close(stream);
    return 0;
}

static int converse(void) {
    char line[LINES];
    int status = 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line) status |= ask(line);
    }
    return status;
}

int main(int count, char **arguments) {
    bool daemon = false, foreground = false;
    signal(SIGPIPE, SIG_IGN);
    for (int at = 1; at < count; at++) {
        if (!strcmp(arguments[at], "-d")) daemon = true;
        else if (!strcmp(arguments[at], "-f")) foreground = true;
        else if (!strcmp(arguments[at], "-M") || !strcmp(arguments[at], "-multiuser-server")) me.many_users = true;
        else {
            fprintf(stderr, "usage: nvidia-cuda-mps-control [-d | -f] [-M]\n");
            return 1;
        }
    }
    return daemon || foreground ? start(!foreground) : converse();
}
