"""Run as a script, `_memory_worker.py model.tflite threads runs`: how much memory a file takes.

It imports LiteRT's interpreter and nothing of kdl, so that what it measures is what a device needs.
"""

import json
import sys


def main(path, threads, runs):
    """Loads and runs the file; prints the peak before and after, in bytes, as JSON."""
    from ai_edge_litert.interpreter import Interpreter

    idle = peak_memory()
    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    for _ in range(runs):
        interpreter.invoke()
    print(json.dumps({"idle": idle, "peak": peak_memory()}))


def peak_memory():
    """The most memory that this process has held, in bytes."""
    try:
        # `getrusage` counts what the parent held before this program began, on Linux.
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
