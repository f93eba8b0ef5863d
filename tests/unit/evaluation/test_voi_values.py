"""The values in volumes of interest: written and read back the same, damage refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tgdpet.evaluation import voi_values
from tgdpet.evaluation.voi_values import NetworkValues, ProtocolValues, StudyValues
from tgdpet.io.arrays import read_arrays, write_arrays


def values(n: int = 3, n_voxels: int = 4) -> StudyValues:
    generator = np.random.default_rng(0)

    def network() -> NetworkValues:
        liver, lesion = generator.random((n, n_voxels), np.float32), generator.random(n)
        return NetworkValues(
            liver, lesion, {"rmse": generator.random(n), "liver_rmse": generator.random(n)}
        )

    networks = {name: network() for name in ("input", "v1-net", "TGD2-N2N")}
    samples = tuple(f"real{i:02d}" for i in range(1, n + 1))
    v2 = ProtocolValues(samples, generator.random(n_voxels, np.float32), 2.5, networks)
    bare = {"input": NetworkValues(None, None, {"bladder_error": generator.random(1)})}
    return StudyValues(
        "lesion", "test_lesion", {"v1": ProtocolValues(("120s",), None, None, bare), "v2": v2}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / voi_values.file_name("lesion")
    voi_values.write_voi_values(path, values())
    return path


def change(path: Path, **arrays: np.ndarray | None) -> None:
    kept = read_arrays(path, "npz file")
    kept.update({key: value for key, value in arrays.items() if value is not None})
    write_arrays(
        path, {key: value for key, value in kept.items() if arrays.get(key, 0) is not None}
    )


def test_what_is_written_is_read_back(path: Path) -> None:
    ours, theirs = values(), voi_values.read_voi_values(path)
    assert (theirs.study, theirs.role) == ("lesion", "test_lesion")
    assert list(theirs.protocols) == ["v1", "v2"]
    for name, protocol in ours.protocols.items():
        other = theirs.protocols[name]
        assert other.samples == protocol.samples and other.lesion == protocol.lesion
        assert list(other.networks) == list(protocol.networks)
        for (key, one), (same, two) in zip(
            voi_values._arrays(protocol), voi_values._arrays(other), strict=True
        ):
            assert key == same and one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)


def test_the_same_values_give_the_same_bytes(path: Path) -> None:
    before = path.read_bytes()
    voi_values.write_voi_values(path, values())
    assert path.read_bytes() == before and not list(path.parent.glob(".tmp*"))


def test_realisations_are_told_from_other_samples() -> None:
    protocol = replace(values().protocols["v2"], samples=("60s", "real01", "real02"))
    assert protocol.realised() == [1, 2]


def test_damage_is_named(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for bad in (
        whole[:-200],
        whole[: len(whole) // 2],
        b"",
        b"nothing of this kind",
        whole[:400] + b"x" + whole[401:],
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"lesion_voi\.npz: "):
            voi_values.read_voi_values(path)
    with pytest.raises(
        FileNotFoundError, match=r"none_voi\.npz: no such file; 09_evaluate\.py writes it"
    ):
        voi_values.read_voi_values(tmp_path / "none_voi.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match="array.npy: not a readable npz file"):
        voi_values.read_voi_values(tmp_path / "array.npy")


def test_pickled_objects_are_not_loaded(path: Path) -> None:
    change(path, study=np.array([{"a": 1}], dtype=object))
    with pytest.raises(
        ValueError,
        match=r"not a readable npz file.*study: expected .* not |not a readable npz file.*object",
    ):
        voi_values.read_voi_values(path)


@pytest.mark.parametrize(
    ("key", "array", "words"),
    [
        ("format", np.array(99), "format 99 is not read by this version"),
        ("format", np.array("new"), "format new is not read by this version"),
        ("v2/reference/lesion", np.zeros(3), "only .*arrays can be converted"),
        ("v2/network/v1-net/liver", None, "'v2/network/v1-net/liver' is missing"),
        ("study", None, "'study' is missing"),
        ("v2/network/v1-net/liver", np.zeros((2, 4)), r"expected the shape \(3, 4\), got \(2, 4\)"),
        ("v2/reference/liver", np.zeros(5), r"expected the shape \(3, 5\), got \(3, 4\)"),
        (
            "v2/network/v1-net/error/rmse",
            np.zeros(4),
            r"error/rmse: expected the shape \(3,\), got \(4,\)",
        ),
        (
            "v2/network/v1-net/lesion",
            np.array([1, np.nan, 2]),
            "v1-net/lesion: a value is not a finite number",
        ),
        (
            "v2/network/v1-net/lesion",
            np.array(["1", "2", "3"]),
            "v1-net/lesion: a value is not a finite number",
        ),
        ("v2/samples", np.array(["real01", "real02", "real02"]), "expected names, each once"),
        ("v2/samples", np.array([], "<U6"), "expected names, each once, got \\[\\]"),
        ("v1/network/input/error/bladder_error", None, "v1/network/NAME/error/MEASURE' is missing"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    path: Path, key: str, array: np.ndarray | None, words: str
) -> None:
    change(path, **{key: array})
    with pytest.raises(ValueError, match=rf"lesion_voi\.npz: .*{words}"):
        voi_values.read_voi_values(path)


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    ours = values()
    v2, network = ours.protocols["v2"], ours.protocols["v2"].networks["v1-net"]

    def written(protocol: ProtocolValues) -> None:
        voi_values.write_voi_values(tmp_path / "out.npz", replace(ours, protocols={"v2": protocol}))

    for bad, words in (
        (
            replace(network, liver=None),
            "v1-net/liver: expected in the network and in the reference, found in one",
        ),
        (replace(network, errors={}), "v1-net: it has no error"),
    ):
        with pytest.raises(ValueError, match=words):
            written(replace(v2, networks={"v1-net": bad}))
    with pytest.raises(ValueError, match="no protocol in it"):
        voi_values.write_voi_values(tmp_path / "out.npz", replace(ours, protocols={}))
    assert not (tmp_path / "out.npz").exists()
