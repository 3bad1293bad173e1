"""Share 2 of the comparison with `docker cp`: all cases equal."""

import pytest

from tests.conformance.shard import assert_equal
from tests.conftest import Docker


@pytest.mark.timeout(1200)
def test_equal_to_docker_cp(docker: Docker, busybox: str) -> None:
    assert_equal(2, busybox, "api")


@pytest.mark.timeout(1200)
def test_equal_to_docker_cp_directly(docker: Docker, busybox: str) -> None:
    assert_equal(2, busybox, "auto")


@pytest.mark.timeout(1200)
def test_random_cases_are_equal(docker: Docker, busybox: str) -> None:
    assert_equal(2, busybox, "auto", random=60, seed="3")
    assert_equal(2, busybox, "api", random=60, seed="5")
