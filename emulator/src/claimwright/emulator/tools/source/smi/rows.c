/* The rows of every subject as one table. */

static void list_mig_devices(struct writer *out, void *gpu);
static void list_retired_pages(struct writer *out, void *gpu);
static void list_supported_clocks(struct writer *out, void *gpu);
static void list_processes(struct writer *out, void *gpu);
static void list_accounted(struct writer *out, void *gpu);

static const struct row rows[] = {
#include "rows_identity.h"
#include "rows_pci.h"
#include "rows_use.h"
#include "rows_errors.h"
#include "rows_heat.h"
#include "rows_clocks.h"
#include "rows_fabric.h"
};

static bool is_of_this_driver(const struct row *row) {
    return driver_branch >= row->since && (!row->until || driver_branch < row->until);
}

/* Reads a leaf for one of the forms, without its unit. */
static int read_row(const struct row *row, void *gpu, enum form form, char *out, size_t size) {
    struct value value = {0};
    if (row->style == DEPRECATED) {
        snprintf(out, size, "Requested functionality has been deprecated");
        return OK;
    }
    int result = row->read(gpu, row->function, row->selector, &value);
    if (result)
        snprintf(out, size, "%s", absence(result));
    else
        write_value(row->style, form, &value, out, size);
    return result;
}
