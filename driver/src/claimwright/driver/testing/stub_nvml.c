/* The NVML calls that discovery makes, for a board that a test describes with -D: GPUS, NO_MEMORY,
   NO_ADDRESSING_MODE, MIG.
   Signatures and record layouts are those of nvml.h. */
#include <stdio.h>
#include <stdint.h>
#include <string.h>

#ifndef GPUS
#define GPUS 8
#endif
#ifndef VERSION
#define VERSION "580.126.20"
#endif

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };
typedef struct { char legacy[16]; unsigned domain, bus, device, pci_id, subsystem_id; char bus_id[32]; } pci_info;
typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned version, value; } addressing_mode;

static const unsigned char buses[] = {0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf};
static int initialised;
static unsigned index_of(void *gpu) { return (unsigned)(uintptr_t)gpu - 1; }

int nvmlInitWithFlags(unsigned flags) { initialised += flags == 1; return flags == 1 ? OK : INVALID_ARGUMENT; }
int nvmlShutdown(void) { return initialised-- > 0 ? OK : UNINITIALIZED; }
const char *nvmlErrorString(int code) { return code == OK ? "Success" : "Error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { snprintf(to, size, VERSION); return OK; }
int nvmlSystemGetCudaDriverVersion(int *to) { *to = 13000; return OK; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = GPUS; return initialised > 0 ? OK : UNINITIALIZED; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **to)
{
    if (index >= GPUS) return INVALID_ARGUMENT;
    *to = (void *)(uintptr_t)(index + 1);
    return OK;
}
int nvmlDeviceGetMinorNumber(void *gpu, unsigned *to) { *to = index_of(gpu); return OK; }
int nvmlDeviceGetName(void *gpu, char *to, unsigned size)
{
    (void)gpu;
    snprintf(to, size, "NVIDIA H100 80GB HBM3");
    return OK;
}
int nvmlDeviceGetUUID(void *gpu, char *to, unsigned size)
{
    snprintf(to, size, "GPU-00000000-0000-4000-8000-%012x", index_of(gpu));
    return OK;
}
int nvmlDeviceGetBrand(void *gpu, int *to) { (void)gpu; *to = 14; return OK; }
int nvmlDeviceGetArchitecture(void *gpu, unsigned *to) { (void)gpu; *to = 9; return OK; }
int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor)
{
    (void)gpu;
    *major = 9;
    *minor = 0;
    return OK;
}
int nvmlDeviceGetPciInfo_v3(void *gpu, pci_info *to)
{
    memset(to, 0, sizeof *to);
    to->bus = buses[index_of(gpu) % 8];
    snprintf(to->bus_id, sizeof to->bus_id, "00000000:%02X:00.0", to->bus);
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *gpu, memory_info *to)
{
    (void)gpu;
#ifdef NO_MEMORY
    (void)to;
    return NOT_SUPPORTED;
#else
    to->total = 85520809984ULL;
    to->free = to->total;
    to->used = 0;
    return OK;
#endif
}
#ifndef NO_ADDRESSING_MODE
int nvmlDeviceGetAddressingMode(void *gpu, addressing_mode *to) { (void)gpu; to->value = 1; return OK; }
#endif
int nvmlDeviceGetMigMode(void *gpu, unsigned *current, unsigned *pending)
{
    (void)gpu;
#ifdef MIG
    *current = *pending = 1;
    return OK;
#else
    (void)current, (void)pending;
    return NOT_SUPPORTED;
#endif
}
#ifdef MIG
/* A board in MIG mode whose library knows none of the profiles. */
int nvmlDeviceGetMaxMigDeviceCount(void *gpu, unsigned *to) { (void)gpu; *to = 0; return OK; }
int nvmlDeviceGetGpuInstanceProfileInfoV(void *gpu, unsigned profile, void *to)
{
    (void)gpu, (void)profile, (void)to;
    return NOT_SUPPORTED;
}
#endif
