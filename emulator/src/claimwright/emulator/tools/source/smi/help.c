/* -h, and each verb's own. */

static int show_help(void) {
    puts("NVIDIA System Management Interface of an emulated node (Claimwright)\n\n"
         "nvidia-smi [OPTION [VALUE]]...        without any: a table of the GPUs and their processes\n\n"
         "  Show\n"
         "    -L, --list-gpus                   one line for each GPU and each MIG device\n"
         "    -q, --query                       everything about each GPU; with\n"
         "        -d, --display=A,B             only these parts: MEMORY, UTILIZATION, ECC, TEMPERATURE, POWER, CLOCK,\n"
         "                                      COMPUTE, PIDS, PERFORMANCE, SUPPORTED_CLOCKS, PAGE_RETIREMENT, ...\n"
         "        -x, --xml-format              as XML (not with -d)\n"
         "    --query-gpu=A,B                   properties as CSV; --help-query-gpu explains all\n"
         "    --query-compute-apps=A,B          the same for processes, --query-accounted-apps for finished ones,\n"
         "    --query-supported-clocks=A,B      clocks, --query-retired-pages and --query-remapped-rows for memory;\n"
         "        --format=csv[,noheader][,nounits]      which each of them needs\n"
         "    --version                         versions of tool, library, driver and CUDA\n\n"
         "  Which GPUs, where to and how often\n"
         "    -i, --id=ID,ID                    by index, UUID, serial number or PCI bus id; else all\n"
         "    -f, --filename=FILE               writes there instead of to the terminal\n"
         "    -l, --loop[=SECONDS]              again and again, every 5 seconds; -lms, --loop-ms=MILLISECONDS\n\n"
         "  Change (root)\n"
         "    -pm, --persistence-mode=0|1       keep the driver loaded         -am, --accounting-mode=0|1\n"
         "    -c, --compute-mode=MODE           0 default, 2 prohibited, 3 exclusive process\n"
         "    -pl, --power-limit=WATTS          -e, --ecc-config=0|1           -p, --reset-ecc-errors=0|1\n"
         "    -lgc, --lock-gpu-clocks=MIN,MAX   -rgc, --reset-gpu-clocks       -lmc, -rmc the same for memory\n"
         "    -ac, --applications-clocks=MEM,GR -rac, --reset-applications-clocks\n"
         "    -mig, --multi-instance-gpu=0|1    MIG mode\n"
         "    -r, --gpu-reset                   resets the GPUs, which no process may use\n\n"
         "  More: nvidia-smi VERB -h\n"
         "    topo            how GPUs, network ports and CPUs are connected\n"
         "    nvlink          state and counters of NVLinks\n"
         "    mig             GPU and compute instances\n"
         "    compute-policy  time slices\n"
         "    drain           takes a GPU out of service\n"
         "    vgpu            types and vGPUs of a host that makes them");
    return OK;
}

static int show_verb_help(const char *verb) {
    static const struct { const char *verb, *text; } texts[] = {
        {"topo", "nvidia-smi topo [-i ID]\n"
                 "    -m        matrix of paths between GPUs and network ports, with the CPUs near each GPU\n"
                 "    -p        the PCIe path between each two GPUs\n"
                 "    -c CPU    the GPUs near a CPU\n"
                 "    -p2p CAP  what GPUs can do with each other's memory: r read, w write, n NVLink, a atomics, p PCIe\n"
                 "    -n LEVEL  the GPUs that each one reaches so: 0 same board, 1 PIX, 2 PXB, 3 PHB, 4 NODE, 5 SYS"},
        {"nvlink", "nvidia-smi nvlink [-i ID] [-l LINK]\n"
                   "    -s, --status         speed of each link, or <inactive>\n"
                   "    -c, --capabilities   what each link can do\n"
                   "    -e, --errorcounters  errors of each link\n"
                   "    -re, --reseterrorcounters\n"
                   "    -R, --remotelinkinfo the device and link at the far end\n"
                   "    -p, --pcibusid       the same"},
        {"mig", "nvidia-smi mig [-i ID]\n"
                "    -lgip                 profiles of GPU instances, and how many more of each fit\n"
                "    -lgipp                where each may be placed\n"
                "    -lgi                  GPU instances\n"
                "    -cgi PROFILE,... [-C] makes GPU instances by profile id or name, PROFILE:START at a place; -C with a\n"
                "                          compute instance in each\n"
                "    -dgi [-gi ID,...]     destroys them\n"
                "    -lcip, -lcipp, -lci   the same for compute instances, of all GPU instances or of those of -gi\n"
                "    -cci [PROFILE,...] [-gi ID,...]\n"
                "    -dci [-ci ID,...] [-gi ID,...]\n"
                "MIG mode must be on: nvidia-smi -mig 1."},
        {"compute-policy", "nvidia-smi compute-policy [-i ID]\n"
                           "    -l, --list              the time slice of each GPU\n"
                           "    --set-timeslice=N       0 default, 1 short, 2 medium, 3 long"},
        {"drain", "nvidia-smi drain -p PCI-ADDRESS\n"
                  "    -m 0|1    in service, or draining: no new client may start\n"
                  "    -q        says which\n"
                  "    -r        removes the drained GPU from the bus"},
        {"vgpu", "nvidia-smi vgpu [-i ID]       without an option: a table of GPUs and their vGPUs\n"
                 "    -s, --supported [-v]   types that each GPU offers; -v with their sizes\n"
                 "    -c, --creatable [-v]   types that there is room for now\n"
                 "    -q, --query            each vGPU that a virtual machine runs on"},
    };
    for (size_t at = 0; at < COUNT_OF(texts); at++)
        if (!strcmp(verb, texts[at].verb)) puts(texts[at].text);
    return OK;
}

static int show_version(void) {
    char version[80] = "", cuda[16];
    CALL("nvmlSystemGetNVMLVersion", (char *, unsigned), version, sizeof version);
    write_cuda_version(cuda, sizeof cuda);
    printf("NVIDIA-SMI version  : %s\nNVML version        : %s\nDRIVER version      : %s\nCUDA Version        : %s\n",
           driver_version, strchr(version, '.') ? strchr(version, '.') + 1 : version, driver_version, cuda);
    return OK;
}
