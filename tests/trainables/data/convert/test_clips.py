"""CREMA-D, Kinetics-Sounds, VGGSound and UCF-101 from small folders of exactly their layouts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from trainables.data import DataError
from trainables.data.convert import convert
from trainables.data.convert.clips import CREMA_D, EMOTIONS, VGGSOUND
from trainables.data.convert.media import Spectrogram, recording, sound, spectrogram

RATE = 16000


def wave(file: Path, seconds: float = 1.0, tone: float = 440.0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    samples = np.sin(2 * np.pi * tone * np.arange(round(seconds * RATE)) / RATE)
    wavfile.write(file, RATE, (0.5 * 32767 * samples).astype(np.int16))


def frames(folder: Path, *greys: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, grey in enumerate(greys, 1):
        Image.new("RGB", (10, 8), (grey, grey, grey)).save(folder / f"frame_{place:05d}.png")


@pytest.mark.parametrize("how", [CREMA_D, VGGSOUND])
def test_a_spectrogram_is_that_of_librosa(how: Spectrogram) -> None:
    signal = np.random.default_rng(0).uniform(-1, 1, round(how.rate * how.seconds))
    window = torch.hann_window(how.window, dtype=torch.float64)
    expected = torch.stft(
        torch.from_numpy(signal), how.window, how.hop, window=window, center=True, pad_mode="constant",
        return_complex=True,
    )  # fmt: skip
    found = spectrogram(signal, how)
    np.testing.assert_allclose(found, np.log(expected.abs().numpy() + 1e-7).T, rtol=1e-5, atol=1e-6)


def test_crema_d_has_the_size_that_the_papers_give(tmp_path: Path) -> None:
    wave(tmp_path / "a.wav")
    assert sound(tmp_path / "a.wav", CREMA_D).shape == (188, 257)


def test_a_short_recording_is_repeated_and_of_a_long_one_the_middle_is_heard(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "short.wav", RATE, np.array([0, 16384, -32768], np.int16))
    how = Spectrogram(rate=RATE, seconds=7 / RATE, window=2, hop=1)
    np.testing.assert_array_equal(recording(tmp_path / "short.wav", how), [0, 0.5, -1, 0, 0.5, -1, 0])
    wavfile.write(tmp_path / "long.wav", RATE, np.arange(-5, 6, dtype=np.float32) / 10)
    np.testing.assert_allclose(recording(tmp_path / "long.wav", how), np.arange(-3, 4) / 10, rtol=1e-6)


def test_channels_are_averaged_and_rates_changed(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    wavfile.write(tmp_path / "a.wav", RATE, np.stack([tone, np.zeros(RATE)], axis=1).astype(np.float32))
    how = Spectrogram(rate=22050, seconds=1, window=512, hop=353)
    heard = recording(tmp_path / "a.wav", how)
    assert heard.shape == (22050,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    np.testing.assert_allclose(heard[500:-500], expected[500:-500], atol=2e-3)


def crema(folder: Path, actors: int = 12) -> None:
    names = [(f"{1001 + actor}_IEO_{emotion}_XX", emotion) for actor in range(actors) for emotion in EMOTIONS]
    lines = [f"{name},{emotion}" for name, emotion in names]
    (folder / "train.csv").write_text("\n".join(lines[::2]) + "\n", encoding="utf-8-sig")
    (folder / "test.csv").write_text("\n".join(lines[1::2]) + "\n", encoding="utf-8-sig")
    for place, (name, _) in enumerate(names):
        wave(folder / "AudioWAV" / f"{name}.wav")
        frames(folder / "Image-01-FPS" / name, place, place + 100, place + 200 if place < 50 else 0)


def test_crema_d_is_read_with_a_validation_split_of_each_class(tmp_path: Path) -> None:
    crema(tmp_path)
    found = convert("crema-d", tmp_path, {"size": 16})
    arrays = found.arrays
    assert (arrays["audio"].shape, arrays["image"].shape) == ((72, 188, 257), (72, 3, 16, 16))
    assert arrays["image"].dtype == np.uint8
    assert found.sheet["classes"] == list(EMOTIONS)
    assert np.bincount(arrays["split"]).tolist() == [33, 3, 36]
    assert sorted(arrays["label"][arrays["split"] == 1]) == [0, 2, 4]  # the classes of the lines in train.csv
    listed = [*range(0, 72, 2), *range(1, 72, 2)]
    assert arrays["image"][:, 0, 0, 0].tolist() == [place + 100 for place in listed]  # the middle one of three frames
    assert arrays["label"].tolist() == [place % 6 for place in listed]


def test_actors_are_in_one_split_each_if_asked_for(tmp_path: Path) -> None:
    crema(tmp_path)
    found = convert("crema-d", tmp_path, {"size": 8, "split": "actors"})
    actor = [int(place) // 6 for place in found.arrays["image"][:, 0, 0, 0].astype(int) - 100]
    places = {one: {int(s) for a, s in zip(actor, found.arrays["split"], strict=True) if a == one} for one in actor}
    assert all(len(splits) == 1 for splits in places.values())
    assert set.union(*places.values()) == {0, 1, 2}
    assert found.sheet["splits"] == "by actor"


def test_a_clip_that_lacks_a_file_is_left_out_and_counted(tmp_path: Path) -> None:
    crema(tmp_path, actors=4)
    (tmp_path / "AudioWAV" / "1001_IEO_NEU_XX.wav").unlink()
    (tmp_path / "Image-01-FPS" / "1002_IEO_ANG_XX" / "frame_00001.png").unlink()
    found = convert("crema-d", tmp_path, {"size": 8, "frames": 3})
    assert found.arrays["image"].shape == (22, 9, 8, 8)
    assert found.notes == ["2 of 24 listed clips lack a file and are left out"]


def test_filter_banks_of_torch_are_read_without_running_anything(tmp_path: Path) -> None:
    crema(tmp_path, actors=4)
    for file in sorted((tmp_path / "AudioWAV").iterdir()):
        torch.save(torch.full((7, 5), 2.5), file.with_suffix(".pt"))
        file.unlink()
    found = convert("crema-d", tmp_path, {"size": 8})
    assert found.arrays["audio"].shape == (24, 7, 5)
    assert (found.arrays["audio"] == 2.5).all()


@pytest.mark.parametrize("line", ["{},10,{}", "{} 10 {}"])
def test_kinetics_sounds_is_listed_by_commas_or_spaces(tmp_path: Path, line: str) -> None:
    labels = {f"clip{place:02d}": place % 11 for place in range(44)}
    for part, names in (("train", list(labels)[:33]), ("test", list(labels)[33:])):
        (tmp_path / f"my_{part}.txt").write_text("".join(line.format(n, labels[n]) + "\n" for n in names))
    for place, name in enumerate(labels):
        (tmp_path / "audio").mkdir(exist_ok=True)
        np.save(tmp_path / "audio" / f"{name}.npy", np.full((6, 4), place))
        frames(tmp_path / "visual" / name, *range(7))
    found = convert("kinetics-sounds", tmp_path, {"size": 8})
    assert found.sheet["classes"] == [str(one) for one in range(11)]  # 10 comes after 9
    np.testing.assert_array_equal(found.arrays["label"], [place % 11 for place in range(44)])
    np.testing.assert_array_equal(found.arrays["audio"][:, 0, 0], np.arange(44))
    assert found.arrays["image"][0, ::3, 0, 0].tolist() == [1, 3, 5]  # of parts 0 1, 2 3, 4 5
    assert np.bincount(found.arrays["split"]).tolist() == [22, 11, 11]


def test_vggsound_finds_clips_with_and_without_zeros(tmp_path: Path) -> None:
    listed = [
        ("a", "30", "dog", "train"),
        ("b-_x", "5", "cat", "train"),
        ("c", "7", "dog", "test"),
        ("d", "0", "cat", "test"),
    ]
    more = [(f"e{place}", "1", ("dog", "cat")[place % 2], "train") for place in range(4)]
    (tmp_path / "vggsound.csv").write_text("".join(",".join(line) + "\n" for line in [*listed, *more]))
    for place, (name, second, *_) in enumerate([*listed, *more]):
        called = f"{name}_{second.zfill(6) if place % 2 else second}"
        np.save(tmp_path / f"{called}.npy", np.full((3, 2), place))
        frames(tmp_path / "frames" / f"{called}.mp4", place, place, place)
    found = convert("vggsound", tmp_path, {"size": 8})
    assert found.arrays["audio"][:, 0, 0].tolist() == list(range(8))
    assert found.arrays["image"][:, 0, 0, 0].tolist() == list(range(8))
    assert found.sheet["classes"] == ["cat", "dog"]
    assert found.notes == []


def test_ucf_101_has_flow_along_both_axes(tmp_path: Path) -> None:
    lines = {
        "train": [f"Run/v_Run_g{g:02d}.avi 1\n" for g in range(4)] + [f"Sit/v_Sit_g{g:02d}.avi 2\n" for g in range(4)]
    }
    lines["test"] = ["Run/v_Run_g09.avi\n", "Sit/v_Sit_g09.avi\n"]
    for part, listed in lines.items():
        (tmp_path / f"{part}list01.txt").write_text("".join(listed))
        for line in listed:
            name = line.partition("/")[2].partition(".avi")[0]
            for folder, grey in (("jpegs_256", 10), ("tvl1_flow/u", 20), ("tvl1_flow/v", 30)):
                frames(tmp_path / folder / name, grey, grey, grey)
    found = convert("ucf-101", tmp_path, {"size": 8})
    assert found.arrays["image"].shape == (10, 9, 8, 8)
    assert found.arrays["flow"][0, :, 0, 0].tolist() == [20, 20, 20, 30, 30, 30]
    assert found.sheet["classes"] == ["Run", "Sit"]
    assert np.bincount(found.arrays["split"]).tolist() == [6, 2, 2]


def test_what_is_not_there_or_not_alike_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train\.csv, which this layout has"):
        convert("crema-d", tmp_path, {})
    crema(tmp_path, actors=2)
    for file in (tmp_path / "AudioWAV").iterdir():
        np.save(file.with_suffix(".npy"), np.zeros((3, 2) if "ANG" in file.stem else (4, 2)))
        file.unlink()
    with pytest.raises(
        DataError, match=r"audio of 100\d_IEO_ANG_XX is \(3, 2\), and that of .* \(4, 2\); all must be alike"
    ):
        convert("crema-d", tmp_path, {"size": 8})
    picture = next((tmp_path / "Image-01-FPS").rglob("*.png"))
    for file in (tmp_path / "Image-01-FPS").rglob("*.png"):
        file.write_bytes(b"none")
    assert picture.exists()
    with pytest.raises(DataError, match="is no picture that can be read"):
        convert("crema-d", tmp_path, {"size": 8})
    (tmp_path / "train.csv").write_text("1001_IEO_NEU_YY,NEU\n")
    (tmp_path / "test.csv").write_text("1001_IEO_NEU_ZZ,NEU\n")
    with pytest.raises(DataError, match="holds nothing of its 2 listed clips"):
        convert("crema-d", tmp_path, {})
