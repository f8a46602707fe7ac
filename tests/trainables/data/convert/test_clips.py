"""CREMA-D, Kinetics-Sounds, VGGSound and UCF-101 from small folders of exactly their layouts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from trainables.data import DataError
from trainables.data.convert import convert
from trainables.data.convert.clips import CREMA_D, EMOTIONS, VGGSOUND
from trainables.data.convert.media import SpectrogramSettings, load_picture, load_recording, load_sound, log_spectrogram

RATE = 16000


def write_recording(file: Path, seconds: float = 1.0, tone: float = 440.0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    samples = np.sin(2 * np.pi * tone * np.arange(round(seconds * RATE)) / RATE)
    wavfile.write(file, RATE, (0.5 * 32767 * samples).astype(np.int16))


def write_frames(folder: Path, *greys: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, grey in enumerate(greys, 1):
        Image.new("RGB", (10, 8), (grey, grey, grey)).save(folder / f"frame_{place:05d}.png")


@pytest.mark.parametrize("settings", [CREMA_D, VGGSOUND])
def test_a_log_spectrogram_equals_that_of_librosa(settings: SpectrogramSettings) -> None:
    signal = np.random.default_rng(0).uniform(-1, 1, round(settings.rate * settings.seconds))
    window = torch.hann_window(settings.window, dtype=torch.float64)
    expected = torch.stft(
        torch.from_numpy(signal), settings.window, settings.hop, window=window, center=True, pad_mode="constant",
        return_complex=True,
    )  # fmt: skip
    spectrogram = log_spectrogram(signal, settings)
    np.testing.assert_allclose(spectrogram, np.log(expected.abs().numpy() + 1e-7).T, rtol=1e-5, atol=1e-6)


def test_spectrograms_of_crema_d_have_the_published_size(tmp_path: Path) -> None:
    write_recording(tmp_path / "a.wav")
    assert load_sound(tmp_path / "a.wav", CREMA_D).shape == (188, 257)


def test_a_short_recording_is_repeated_and_a_long_one_cropped(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "short.wav", RATE, np.array([0, 16384, -32768], np.int16))
    settings = SpectrogramSettings(rate=RATE, seconds=7 / RATE, window=2, hop=1, middle=True)
    np.testing.assert_array_equal(load_recording(tmp_path / "short.wav", settings), [0, 0.5, -1, 0, 0.5, -1, 0])
    wavfile.write(tmp_path / "long.wav", RATE, np.arange(-5, 6, dtype=np.float32) / 10)
    np.testing.assert_allclose(load_recording(tmp_path / "long.wav", settings), np.arange(-3, 4) / 10, rtol=1e-6)
    first = settings._replace(middle=False)
    np.testing.assert_allclose(load_recording(tmp_path / "long.wav", first), np.arange(-5, 2) / 10, rtol=1e-6)
    assert (CREMA_D.middle, VGGSOUND.middle) == (False, True)


def test_channels_are_averaged_and_recordings_resampled(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    wavfile.write(tmp_path / "a.wav", RATE, np.stack([tone, np.zeros(RATE)], axis=1).astype(np.float32))
    settings = SpectrogramSettings(rate=22050, seconds=1, window=512, hop=353, middle=False)
    recording = load_recording(tmp_path / "a.wav", settings)
    assert recording.shape == (22050,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    np.testing.assert_allclose(recording[500:-500], expected[500:-500], atol=2e-3)


def write_crema_d(folder: Path, actors: int = 12) -> None:
    names = [(f"{1001 + actor}_IEO_{emotion}_XX", emotion) for actor in range(actors) for emotion in EMOTIONS]
    lines = [f"{name},{emotion}" for name, emotion in names]
    (folder / "train.csv").write_text("\n".join(lines[::2]) + "\n", encoding="utf-8-sig")
    (folder / "test.csv").write_text("\n".join(lines[1::2]) + "\n", encoding="utf-8-sig")
    for place, (name, _) in enumerate(names):
        write_recording(folder / "AudioWAV" / f"{name}.wav")
        write_frames(folder / "Image-01-FPS" / name, place, place + 100, place + 200 if place < 50 else 0)


def test_crema_d_is_read_with_a_validation_split_of_each_class(tmp_path: Path) -> None:
    write_crema_d(tmp_path)
    conversion = convert("crema-d", tmp_path, {"size": 16})
    arrays = conversion.arrays
    assert (arrays["audio"].shape, arrays["image"].shape) == ((72, 188, 257), (72, 3, 16, 16))
    assert arrays["image"].dtype == np.uint8
    assert conversion.datasheet["classes"] == list(EMOTIONS)
    assert conversion.datasheet["standardise"] == {"audio": "all"}
    assert np.bincount(arrays["split"]).tolist() == [33, 3, 36]
    assert sorted(arrays["label"][arrays["split"] == 1]) == [0, 2, 4]  # the classes of the lines in train.csv
    listed = [*range(0, 72, 2), *range(1, 72, 2)]
    assert arrays["image"][:, 0, 0, 0].tolist() == [place + 100 for place in listed]  # the middle one of three frames
    assert arrays["label"].tolist() == [place % 6 for place in listed]


def test_a_split_by_actors_has_each_actor_in_one_split(tmp_path: Path) -> None:
    write_crema_d(tmp_path)
    conversion = convert("crema-d", tmp_path, {"size": 8, "split": "actors"})
    actor = [int(place) // 6 for place in conversion.arrays["image"][:, 0, 0, 0].astype(int) - 100]
    places = {
        one: {int(s) for a, s in zip(actor, conversion.arrays["split"], strict=True) if a == one} for one in actor
    }
    assert all(len(splits) == 1 for splits in places.values())
    assert set.union(*places.values()) == {0, 1, 2}
    assert (conversion.datasheet["splits"], conversion.datasheet["groups"]) == ("by actor", "group")
    assert len({*zip(actor, conversion.arrays["group"].tolist(), strict=True)}) == len({*actor})


def test_a_clip_that_lacks_a_file_is_left_out_and_counted(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=4)
    (tmp_path / "AudioWAV" / "1001_IEO_NEU_XX.wav").unlink()
    (tmp_path / "Image-01-FPS" / "1002_IEO_ANG_XX" / "frame_00001.png").unlink()
    conversion = convert("crema-d", tmp_path, {"size": 8, "frames": 3})
    assert conversion.arrays["image"].shape == (22, 9, 8, 8)
    assert conversion.notes == ["2 of 24 listed clips lack a file and are left out"]


def test_filter_banks_in_files_of_torch_are_read(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=4)
    for file in sorted((tmp_path / "AudioWAV").iterdir()):
        torch.save(torch.full((7, 5), 2.5), file.with_suffix(".pt"))
        file.unlink()
    conversion = convert("crema-d", tmp_path, {"size": 8})
    assert conversion.arrays["audio"].shape == (24, 7, 5)
    assert (conversion.arrays["audio"] == 2.5).all()


@pytest.mark.parametrize("line", ["{},10,{}", "{} 10 {}"])
def test_kinetics_sounds_is_listed_by_commas_or_spaces(tmp_path: Path, line: str) -> None:
    labels = {f"clip{place:02d}": place % 11 for place in range(44)}
    for part, names in (("train", list(labels)[:33]), ("test", list(labels)[33:])):
        (tmp_path / f"my_{part}.txt").write_text("".join(line.format(n, labels[n]) + "\n" for n in names))
    for place, name in enumerate(labels):
        (tmp_path / "audio").mkdir(exist_ok=True)
        np.save(tmp_path / "audio" / f"{name}.npy", np.full((6, 4), place))
        write_frames(tmp_path / "visual" / name, *range(7))
    conversion = convert("kinetics-sounds", tmp_path, {"size": 8})
    assert conversion.datasheet["classes"] == [str(one) for one in range(11)]  # 10 comes after 9
    np.testing.assert_array_equal(conversion.arrays["label"], [place % 11 for place in range(44)])
    np.testing.assert_array_equal(conversion.arrays["audio"][:, 0, 0], np.arange(44))
    assert conversion.arrays["image"][0, ::3, 0, 0].tolist() == [1, 3, 5]  # of parts 0 1, 2 3, 4 5
    assert np.bincount(conversion.arrays["split"]).tolist() == [22, 11, 11]


def test_vggsound_finds_clips_with_and_without_zeros(tmp_path: Path) -> None:
    listed = [
        ("a", "30", "dog", "train"),
        ("b-_x", "5", "cat", "train"),
        ("c", "7", "dog", "test"),
        ("d", "0", "cat", "test"),
    ]
    more = [(f"e{place}", "1", ("dog", "cat")[place % 2], "train") for place in range(4)]
    more.append(("a", "30", "dog", "extra"))
    (tmp_path / "vggsound.csv").write_text("".join(",".join(line) + "\n" for line in [*listed, *more]))
    for place, (name, second, *_) in enumerate([*listed, *more[:-1]]):
        short, long = f"{name}_{second}", f"{name}_{second.zfill(6)}"
        np.save(tmp_path / f"{long if place % 2 else short}.npy", np.full((3, 2), place))
        write_frames(tmp_path / "frames" / f"{long if place % 3 else short}.mp4", place, place, place)
    conversion = convert("vggsound", tmp_path, {"size": 8})
    assert conversion.arrays["audio"][:, 0, 0].tolist() == list(range(8))
    assert conversion.arrays["image"][:, 0, 0, 0].tolist() == list(range(8))
    assert conversion.datasheet["classes"] == ["cat", "dog"]
    assert conversion.notes == ["1 lines with an unknown split are left out"]


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
                write_frames(tmp_path / folder / name, grey, grey, grey)
    conversion = convert("ucf-101", tmp_path, {"size": 8})
    assert conversion.arrays["image"].shape == (10, 9, 8, 8)
    assert conversion.arrays["flow"][0, :, 0, 0].tolist() == [20, 20, 20, 30, 30, 30]
    assert conversion.datasheet["classes"] == ["Run", "Sit"]
    assert np.bincount(conversion.arrays["split"]).tolist() == [6, 2, 2]


def test_clips_of_one_video_are_a_group_and_in_one_split(tmp_path: Path) -> None:
    """Of twenty films of three clips in a class, two are for validation, each with all of its clips."""
    clips = [
        f"{label}/v_{label}_g{g:02d}_c{c:02d}.avi" for label in ("Run", "Sit") for g in range(21) for c in (1, 2, 3)
    ]
    for part, is_test in (("train", False), ("test", True)):
        (tmp_path / f"{part}list01.txt").write_text("".join(f"{one}\n" for one in clips if ("_g20" in one) == is_test))
    for clip in clips:
        for folder in ("jpegs_256", "tvl1_flow/u", "tvl1_flow/v"):
            write_frames(tmp_path / folder / clip.partition("/")[2].removesuffix(".avi"), 1)
    conversion = convert("ucf-101", tmp_path, {"size": 8, "frames": 1})
    group, split, label = (conversion.arrays[name] for name in ("group", "split", "label"))
    assert conversion.datasheet["groups"] == "group"
    assert np.bincount(group).tolist() == [3] * 42
    assert all(len({*split[group == one]}) == 1 for one in group)
    assert [np.bincount(split[label == one]).tolist() for one in (0, 1)] == [[54, 6, 3]] * 2


def test_missing_and_unlike_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train\.csv, which this layout needs"):
        convert("crema-d", tmp_path, {})
    write_crema_d(tmp_path, actors=2)
    for file in (tmp_path / "AudioWAV").iterdir():
        np.save(file.with_suffix(".npy"), np.zeros((3, 2) if "ANG" in file.stem else (4, 2)))
        file.unlink()
    with pytest.raises(
        DataError,
        match=r"audio of 100\d_IEO_ANG_XX has the shape \(3, 2\), and that of .* \(4, 2\); all shapes must be equal",
    ):
        convert("crema-d", tmp_path, {"size": 8})
    damaged = next((tmp_path / "Image-01-FPS").rglob("*.png"))
    for file in (tmp_path / "Image-01-FPS").rglob("*.png"):
        file.write_bytes(b"none")
    assert damaged.exists()
    with pytest.raises(DataError, match="is not a readable picture"):
        convert("crema-d", tmp_path, {"size": 8})
    (tmp_path / "train.csv").write_text("1001_IEO_NEU_YY,NEU\n")
    (tmp_path / "test.csv").write_text("1001_IEO_NEU_ZZ,NEU\n")
    there = (
        "1001_IEO_NEU_YY with at least 2 frames is not among "
        "12 recordings such as 1001_IEO_ANG_XX and 12 folders of frames such as 1001_IEO_ANG_XX"
    )
    with pytest.raises(DataError, match=f"holds none of its 2 listed clips: {there}"):
        convert("crema-d", tmp_path, {"frames": 2})
    (tmp_path / "train.csv").write_text("name,emotion\n")
    (tmp_path / "test.csv").write_text("")
    with pytest.raises(DataError, match=r"the lists of .* contain no clip"):
        convert("crema-d", tmp_path, {})


def test_a_clip_in_two_places_is_refused_unless_a_folder_is_named(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=2)
    for folder in list((tmp_path / "Image-01-FPS").iterdir()):
        write_frames(tmp_path / "Image-02-FPS" / folder.name, 7, 7)
    both = r"1001_IEO_NEU_XX was found twice, .*/Image-01-FPS/1001_IEO_NEU_XX and .*/Image-02-FPS/1001_IEO_NEU_XX; .* with visual=FOLDER"
    with pytest.raises(DataError, match=both):
        convert("crema-d", tmp_path, {"size": 8})
    conversion = convert("crema-d", tmp_path, {"size": 8, "visual": "Image-02-FPS"})
    assert (conversion.arrays["image"] == 7).all()
    torch.save(torch.zeros(3, 2), tmp_path / "Image-02-FPS" / "1002_IEO_SAD_XX.pt")
    with pytest.raises(DataError, match=r"was found twice, .*\.wav and .*\.pt; .* with audio=FOLDER"):
        convert("crema-d", tmp_path, {"size": 8, "visual": "Image-02-FPS"})
    both_named = convert("crema-d", tmp_path, {"size": 8, "visual": "Image-02-FPS", "audio": "AudioWAV"})
    np.testing.assert_array_equal(both_named.arrays["audio"], conversion.arrays["audio"])
    with pytest.raises(DataError, match="has no Image-03-FPS"):
        convert("crema-d", tmp_path, {"visual": "Image-03-FPS"})
    with pytest.raises(DataError, match=r"\.\./x must be a path inside"):
        convert("crema-d", tmp_path, {"visual": "../x"})


def test_media_are_found_behind_links_and_under_either_spelling(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    for folder in (source, elsewhere):
        folder.mkdir()
    write_crema_d(elsewhere, actors=2)
    for folder in ("AudioWAV", "Image-01-FPS"):
        (source / folder).symlink_to(elsewhere / folder)
    (elsewhere / "AudioWAV" / "round").symlink_to(elsewhere / "AudioWAV")
    (source / "again").symlink_to(elsewhere / "Image-01-FPS")
    for part in ("train", "test"):
        listed = (elsewhere / f"{part}.csv").read_text(encoding="utf-8-sig")
        (source / f"{part}.csv").write_text(listed.replace("_XX,", "_XX.mp4,"))
    for file in list((elsewhere / "AudioWAV").glob("*.wav")):
        file.rename(file.with_suffix(".WAV"))
    conversion = convert("crema-d", source, {"size": 8})
    assert (len(conversion.arrays["audio"]), conversion.notes) == (12, [])


def test_unreadable_files_are_left_out_and_the_first_is_named(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=4)
    (tmp_path / "AudioWAV" / "1001_IEO_NEU_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\noid")
    wavfile.write(tmp_path / "AudioWAV" / "1001_IEO_SAD_XX.wav", RATE, np.zeros(0, np.int16))
    (tmp_path / "Image-01-FPS" / "1002_IEO_ANG_XX" / "frame_00002.png").write_bytes(b"none")
    (tmp_path / "Image-01-FPS" / "1003_IEO_ANG_XX" / "._frame_00002.png").write_bytes(b"none")
    (tmp_path / ".old").mkdir()
    write_recording(tmp_path / ".old" / "1003_IEO_ANG_XX.wav")
    with (tmp_path / "train.csv").open("a") as stream:
        stream.write("1003_IEO_JOY_XX,JOY\n")
    conversion = convert("crema-d", tmp_path, {"size": 8})
    assert len(conversion.arrays["label"]) == 21
    assert conversion.notes[0] == "1 lines with an unknown emotion are left out"
    assert conversion.notes[1].startswith("3 unusable items are left out, the first: ")
    assert conversion.notes[1].endswith("1001_IEO_NEU_XX.wav is a Git LFS pointer, not data; `git lfs pull` fetches it")


def test_a_clip_with_a_number_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=4)
    spectrogram = np.zeros((188, 257), np.float32)
    for name in ("ANG", "SAD"):
        (tmp_path / "AudioWAV" / f"1001_IEO_{name}_XX.wav").unlink()
        np.save(tmp_path / "AudioWAV" / f"1001_IEO_{name}_XX.npy", spectrogram)
        spectrogram[3, 5] = np.nan
    conversion = convert("crema-d", tmp_path, {"size": 8})
    assert len(conversion.arrays["label"]) == 23
    assert conversion.notes == [
        "1 unusable items are left out, the first: audio of 1001_IEO_SAD_XX holds NaN or infinite numbers"
    ]


def test_too_few_actors_for_a_split_are_refused(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=3)
    with pytest.raises(DataError, match="3 actors are too few for three splits"):
        convert("crema-d", tmp_path, {"size": 8, "split": "actors"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(5, 4, requires_grad=True), None),
        (torch.zeros(5, 4, dtype=torch.bfloat16), None),
        ({"fbank": torch.zeros(5, 4)}, "must hold a tensor, got a dict"),
        (np.zeros((5, 4)), "holds more than a tensor, or is damaged; it is not loaded"),
    ],
)
def test_a_file_of_torch_holds_a_tensor_and_nothing_else(tmp_path: Path, content: Any, message: str | None) -> None:
    file = tmp_path / "a.pt"
    torch.save(content, file)
    if message is None:
        np.testing.assert_array_equal(load_sound(file, CREMA_D), np.zeros((5, 4), np.float32))
    else:
        with pytest.raises(DataError, match=message):
            load_sound(file, CREMA_D)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not data"),
        (b"\x93NUMPY", "is not a readable array"),
        (b"PK\x03\x04", "is not a readable array"),
    ],
)
def test_a_damaged_array_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_sound(file, CREMA_D)
    np.save(file, np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        load_sound(file, CREMA_D)


def test_postscript_named_like_a_picture_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with Image.open(file) as opened:
        assert opened.format == "EPS"
    with pytest.raises(DataError, match=r"a\.jpg is not a readable picture: cannot identify"):
        load_picture(file, 8)


def test_numbers_beyond_half_precision_are_stored_in_single(tmp_path: Path) -> None:
    write_crema_d(tmp_path, actors=2)
    for file in sorted((tmp_path / "AudioWAV").iterdir()):
        np.save(file.with_suffix(".npy"), np.full((3, 2), 1e6 if "ANG" in file.stem else 0.1))
        file.unlink()
    audio = convert("crema-d", tmp_path, {"size": 8}).arrays["audio"]
    assert audio.dtype == np.float32
    assert set(np.unique(audio)) == {np.float32(0.1), np.float32(1e6)}
