"""Answers of NVML functions from the model: one module per subject, each with a table `ANSWERS`.

A function that no C body in library/ answers is answered here, by a Python function on the node's event loop:

    # nvml/answers/retirement.py
    from claimwright.emulator.nvml._generated import records as r
    from claimwright.emulator.nvml.answers.call import Call, Refused
    from claimwright.emulator.nvml.handles import Handle
    from claimwright.emulator.nvml.layout import Result

    def get_retired_pages(call: Call, device: Handle, cause: int) -> list[int]:
        if call.gpu(device).ecc is None:
            raise Refused(Result.NOT_SUPPORTED)
        return [page.address for page in call.gpu(device).retired if page.cause == cause]

    ANSWERS = {"nvmlDeviceGetRetiredPages": get_retired_pages}

Then add the module to SUBJECTS in table.py, and run `python -m claimwright.emulator.nvml.generate` (commit what it
writes). The C body checks form (initialised, NULL, handles and lost GPUs, version words), so an answer begins with
the meaning. What it gets after `call`, in the header's order (_generated/functions.py shows the parts):

- a handle: a Handle (gpu, gpu_instance, compute_instance; whether instances exist is the answer's to check);
- a number: an int; a `const char *`: a str (at most 255 bytes);
- a record pointer: an instance of its ctypes class in records.py, of the version that the caller's word says
  (`isinstance` tells), with the caller's contents; it is changed in place and goes back after success;
- contents marked `+` in the table: a list of ctypes elements (changed in place), or the int a pointer points at.

What it returns, in the same order, alone or as a tuple: plain numbers and handles (`Handle`) behind pointers, lists
for arrays (ints, Handles or ctypes elements), str for text, and at the end lists for arrays that records point at.
None when there is nothing of that. Counts are not passed: arrays and texts that do not fit become INSUFFICIENT_SIZE
with the needed count written back, and NULL with count 0 asks for it. `call.room("infos")` says how much room there is.

An answer refuses by `raise Refused(Result.X)` or by any OperationRefused of the model. Setters begin with
`call.need_admin()` and change state by `call.perform(operation, ...)`. `call.give(...)` before a refusal is not
needed: only counts travel with one. Any other exception is a bug: logged, UNKNOWN to this caller, and nobody else
is hurt. An answer must not block: it runs on the node's loop.

A function in ANSWERS that also has a C body in library/ keeps it for GPUs; its answer here is asked for MIG devices
alone (its first parameter must be the device).

Delays: `NvmlServer.delay_of(name, gpu) -> seconds` may be set; the answer is computed then, others are not held up.
The library waits 30 s for an answer and then says TIMEOUT; a node that dies meanwhile is GPU_IS_LOST at once.
"""

from claimwright.emulator.nvml.answers.call import Call, Refused

__all__ = ["Call", "Refused"]
