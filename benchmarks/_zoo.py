"""The files of single operations that the tests run, for benchmarks that run them all."""

import sys

from benchmarks._children import ROOT

sys.path.insert(0, str(ROOT / "tests" / "deploy"))

import cpu_runtime  # noqa: F401
import cpu_zoo  # noqa: F401
