"""Child processes: what they may import, how they are started and served, and how they end.

No child has the current folder on its module path, where a folder of images could hold a
`numpy.py`. Each has a folder for its temporary files that is removed whatever happens: by this
process, by the child if this one was killed, or by the next start if both were.
"""

from kdl._process._child_folder import ChildFolder
from kdl._process._exit_messages import explain_death, last_error_line, signal_name
from kdl._process._module_paths import child_path, child_variables, module_places, safe_command
from kdl._process._run_child import Finished, run_child
from kdl._process._shared_worker import SharedWorker
from kdl._process._start import ending_with_parent
from kdl._process._worker import Worker, WorkerDied, WorkerError

__all__ = [
    "ChildFolder",
    "Finished",
    "SharedWorker",
    "Worker",
    "WorkerDied",
    "WorkerError",
    "child_path",
    "child_variables",
    "ending_with_parent",
    "explain_death",
    "last_error_line",
    "module_places",
    "run_child",
    "safe_command",
    "signal_name",
]
