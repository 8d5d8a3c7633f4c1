"""What every test may rely on: no leaked state, and the pipeline run once for all tests that look at its results."""

from collections.abc import Iterator

import pytest
import torch
from support.dvc_project import STAGES, Project, ran
from support.warm import Warm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def warm(tmp_path_factory) -> Iterator[Warm]:
    """Stages that start in a moment, which most of a small stage's time goes to otherwise."""
    # Every stage's modules, which most runs of pytest do without.
    import sentence_transformers  # noqa: F401
    from support.damage import COMMANDS

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked child has only the thread that forked
    stages = Warm(tmp_path_factory.mktemp("warm"), COMMANDS)
    torch.set_num_threads(threads)
    yield stages
    stages.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory, warm) -> Project:
    """A tiny project after `dvc repro`, committed. Tests that change anything copy it."""
    project = Project.new(tmp_path_factory.mktemp("built"), warm)
    assert ran(project.run("dvc", "repro")) == STAGES
    project.commit("first results")
    return project
