"""What every test may rely on: no leaked state, and the pipeline run once for all tests that look at its results."""

import pytest
import torch
from support.dvc_project import STAGES, Project, ran


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Project:
    """A tiny project after `dvc repro`, committed. Tests that change anything copy it."""
    project = Project.new(tmp_path_factory.mktemp("built"))
    assert ran(project.run("dvc", "repro")) == STAGES
    project.commit("first results")
    return project
