/* What the control daemon, its servers and whoever asks it have in common: folders, sockets, log lines. The folder's
 * files and the log's form are the real daemon's (MPS guide, "Tools and Interface Reference"); the wire is our own. */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATHS = 4096, LINES = 1024, WAIT_SECONDS = 30 };

static const char *from_environment(const char *name, const char *otherwise) {
    const char *given = getenv(name);
    return given && *given ? given : otherwise;
}

static const char *pipe_folder(void) { return from_environment("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"); }

/* A socket's address holds 108 bytes and folders may be deeper: go through the folder's descriptor. */
static bool control_address(struct sockaddr_un *address, const char *name) {
    static int folder = -1;
    if (folder < 0) folder = open(pipe_folder(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return false;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%.60s", folder, name);
    return true;
}

static int connect_control(void) {
    struct sockaddr_un address;
    if (!control_address(&address, "control")) return -1;
    int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream < 0) return -1;
    if (connect(stream, (struct sockaddr *)&address, sizeof address)) {
        close(stream);
        return -1;
    }
    return stream;
}

/* "[2026-02-06 09:34:17.770 Control   261] …" */
__attribute__((format(printf, 3, 4))) static void note(int journal, const char *who, const char *format, ...) {
    char when[32], text[LINES];
    struct timeval now;
    struct tm parts;
    gettimeofday(&now, NULL);
    strftime(when, sizeof when, "%F %T", localtime_r(&now.tv_sec, &parts));
    va_list given;
    va_start(given, format);
    vsnprintf(text, sizeof text, format, given);
    va_end(given);
    dprintf(journal, "[%s.%03ld %s %5d] %s\n", when, (long)now.tv_usec / 1000, who, (int)getpid(), text);
}
