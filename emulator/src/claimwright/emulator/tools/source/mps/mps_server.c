/* nvidia-cuda-mps-server of an emulated node: says that it is ready and lives until its control daemon ends or ends it.
 * The real one holds the GPU's context for its clients; here there is none to hold. */

#include "wire.h"

int main(void) {
    char path[PATHS], byte;
    snprintf(path, sizeof path, "%.4000s/server.log", from_environment("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps"));
    int journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (journal < 0) journal = 2;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed daemon takes its servers along */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    note(journal, "Other", "Startup");
    note(journal, "Other", "Connecting to control daemon on socket: %s/control", pipe_folder());
    int stream = connect_control();
    if (stream < 0) return 1;
    dprintf(stream, "@server\n");
    while (recv(stream, &byte, 1, 0) > 0) continue;
    note(journal, "Other", "Exit");
    return 0;
}
