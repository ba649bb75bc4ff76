"""Speed as ratios, ours beside what else one would use; on the threads that the command line has."""

from sidecar.cores import one_core_for_algebra

one_core_for_algebra()
