"""For this test's SkyPilot alone, by PYTHONPATH: what it cannot know on a machine without a network.

Its jobs controller looks at two public addresses and sees no preemption while neither answers: it looks at the API server instead. Slurm takes no
`use_spot`: here it does, since a Slurm job may be cancelled as a spot machine may be taken away. It starts as many jobs controllers as fit into the
memory, each of which takes seconds to start: one is enough for one job.
"""

import importlib.abc
import importlib.util
import os
import sys


def _network(module):
    module._TEST_IP_LIST = [os.environ["LAB_ALIVE_URL"]]


def _spot(module):
    module.Slurm._CLOUD_UNSUPPORTED_FEATURES.pop(module.clouds.CloudImplementationFeatures.SPOT_INSTANCE, None)


def _controllers(module):
    module.MAX_CONTROLLERS = 1


_PATCHES = {"sky.backends.backend_utils": _network, "sky.clouds.slurm": _spot, "sky.utils.controller_utils": _controllers}


class _Finder(importlib.abc.MetaPathFinder):
    busy = False

    def find_spec(self, name, path=None, target=None):
        patch = _PATCHES.get(name)
        if patch is None or self.busy:
            return None
        self.busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy = False
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), patch(module))[0]
        return spec


sys.meta_path.insert(0, _Finder())
