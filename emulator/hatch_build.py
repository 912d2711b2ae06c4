"""Compile the NVML library and the tools into the package when a wheel or an editable install is made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled files, and says that the wheel fits x86-64 Linux only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile in place; a missing compiler ends the build with one line that says what to install."""
        if self.target_name != "wheel":
            return
        compiling = _load(Path(self.root) / "src/claimwright/emulator/nvml/compiling.py")
        try:
            compiling.compile_all()
        except (compiling.CompilerMissing, compiling.CompileFailed) as error:
            raise SystemExit(f"claimwright-emulator: {error}") from None
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        if version == "standard":
            for target in compiling.TARGETS:
                build_data["force_include"][str(target.path)] = (
                    f"claimwright/emulator/_compiled/{target.name}"
                )


def _load(path: Path) -> Any:  # noqa: ANN401 - a module
    """Load one file of the package, which is not installed yet."""
    name = "claimwright_emulator_compiling"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
