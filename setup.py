"""What setup.cfg cannot say: manual pages and completions are made while the wheel is built."""

import sys
from pathlib import Path

from setuptools import Command, setup

ROOT = Path(__file__).resolve().parent


class InstallShare(Command):
    """Takes the place of the command that copies data files: these are made where they go."""

    user_options = []

    def initialize_options(self):
        self.install_dir = None

    def finalize_options(self):
        self.set_undefined_options("install", ("install_data", "install_dir"))

    def run(self):
        sys.path.insert(0, str(ROOT / "release"))
        import share

        share.write(Path(self.install_dir))
        self.written = [str(Path(self.install_dir) / name) for name in share.files()]

    def get_inputs(self):
        return []

    def get_outputs(self):
        return self.written


# An entry without files: setuptools runs the command, and sdist has nothing to take along.
setup(data_files=[("share", [])], cmdclass={"install_data": InstallShare})
