"""The part of wasmtime in the benchmark, with its package from PyPI.

    wasmtime_guest.py version
    wasmtime_guest.py compile MODULE.wasm CODE          prints nanoseconds of CPU, KiB the compile added, bytes of code
    wasmtime_guest.py run CODE REPORT [ARGUMENT]...     runs it; nanoseconds of CPU go to the file REPORT

Cranelift as it comes, which is for speed, with SIMD, on one core.
"""

import importlib.metadata
import resource
import sys
import time

import wasmtime


def engine():
    config = wasmtime.Config()
    config.wasm_simd = True
    config.parallel_compilation = False
    return wasmtime.Engine(config)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compile_module(module, code):
    with open(module, "rb") as file:
        wasm = file.read()
    own = engine()
    started, memory = time.process_time_ns(), peak()
    compiled = wasmtime.Module(own, wasm).serialize()
    took, grown = time.process_time_ns() - started, peak() - memory
    with open(code, "wb") as file:
        file.write(compiled)
    print(took, grown, len(compiled))


def run(code, report, arguments):
    own = engine()
    with open(code, "rb") as file:
        module = wasmtime.Module.deserialize(own, file.read())
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["guest", *arguments]
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    store = wasmtime.Store(own)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(own)
    linker.define_wasi()
    start = linker.instantiate(store, module).exports(store)["_start"]
    started = time.process_time_ns()
    status = 0
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        status = ended.code
    took = time.process_time_ns() - started
    with open(report, "w") as file:
        file.write(str(took))
    sys.exit(status)


match sys.argv[1:]:
    case ["version"]:
        print("wasmtime", importlib.metadata.version("wasmtime"))
    case ["compile", module, code]:
        compile_module(module, code)
    case ["run", code, report, *arguments]:
        run(code, report, arguments)
    case _:
        sys.exit(__doc__)
