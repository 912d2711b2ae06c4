/* Words for people: the log of the daemon, and what ends a program. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

enum level { CRITICAL = 1, ERROR = 2, WARNING = 3, INFO = 4 };

static struct {
    FILE *file;
    int level;
} journal = {NULL, INFO};

/* "[Mar 25 2025 10:39:32] [INFO] [tid 38] …", the form of the real daemon's log. */
__attribute__((format(printf, 2, 3))) static void note(enum level level, const char *format, ...) {
    static const char *const names[] = {"", "CRITICAL", "ERROR", "WARNING", "INFO"};
    if ((int)level > journal.level) return;
    char when[32] = "";
    time_t now = time(NULL);
    struct tm parts;
    strftime(when, sizeof when, "%b %d %Y %H:%M:%S", localtime_r(&now, &parts));
    FILE *to = journal.file ? journal.file : stderr;
    fprintf(to, "[%s] [%s] [tid 1] ", when, names[level]);
    va_list given;
    va_start(given, format);
    vfprintf(to, format, given);
    va_end(given);
    fputc('\n', to);
    fflush(to);
}

#define DIE(...)                        \
    do {                                \
        note(CRITICAL, __VA_ARGS__);    \
        exit(1);                        \
    } while (0)

static inline int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void copy_text(char *to, size_t room, const char *from) { snprintf(to, room, "%s", from); }

static char *trimmed(char *text) {
    text += strspn(text, " \t\r\n");
    for (char *end = text + strlen(text); end > text && strchr(" \t\r\n", end[-1]);) *--end = 0;
    return text;
}
