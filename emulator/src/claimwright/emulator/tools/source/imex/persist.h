/* The persistence file: of whom a restarted daemon must hear before it is ready (IMEX_WAIT_FOR_QUORUM=RECOVERY). */
#pragma once

#include "daemon.h"

static void make_folders(const char *path) {
    char folder[PATHS];
    copy_text(folder, sizeof folder, path);
    for (char *slash = folder; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(folder, 0755);
        *slash = '/';
    }
}

/* Replaced in one step: a daemon killed here leaves the old file or the new one. */
static void persist(bool importers) {
    char fresh[PATHS + 8];
    snprintf(fresh, sizeof fresh, "%s.new", me.settings.persist_file);
    make_folders(fresh);
    FILE *file = fopen(fresh, "we");
    if (!file) {
        note(WARNING, "cannot write %s: %s; a restart will not wait for its importers", fresh, strerror(errno));
        return;
    }
    fprintf(file, "key %016llx\n", (unsigned long long)me.nodes.map);
    for (int node = 0; importers && node < me.nodes.count; node++)
        if (node != me.own && (me.awaited[node] || links()[node] == CONNECTED || links()[node] == RECOVERING))
            fprintf(file, "Node #%d: %s\n", node, me.nodes.names[node]);
    if (fclose(file) || rename(fresh, me.settings.persist_file)) note(WARNING, "cannot write %s", fresh);
}

static void recall(void) {
    FILE *file = fopen(me.settings.persist_file, "re");
    unsigned long long key = 0;
    int node;
    char line[MOST_NAME + 64];
    if (!file) {
        note(INFO, "nvidia-imex persistence file %s does not exist. Assuming no previous importers.",
             me.settings.persist_file);
        return;
    }
    bool same = fgets(line, sizeof line, file) && sscanf(line, "key %llx", &key) == 1 && key == me.nodes.map;
    while (same && fgets(line, sizeof line, file))
        if (sscanf(line, "Node #%d:", &node) == 1 && node >= 0 && node < me.nodes.count && node != me.own)
            me.awaited[node] = true;
    fclose(file);
}

static void persist_importers(void) {
    if (me.settings.connected_import) persist(true);
}
