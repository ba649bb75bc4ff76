"""What measures, draws and writes for the repository; on the threads that the command line has."""

from sidecar.cores import one_core_for_algebra

one_core_for_algebra()
