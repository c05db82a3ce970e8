"""Score files on a page: what is read, what is refused, where points are drawn."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.report.curves import Axes, Curve, Range, chart, decades
from speechssl.report.distributions import LONGEST_RUN, median_frames, ranks, units_table
from speechssl.report.robustness import edit_charts, layer_charts
from speechssl.report.score_files import Abx, Edits, Layers, read_scores
from tests.report.pages import Document

LAYER = {"layer": 0, "probe": 0.5, "pnmi": None, "boundary_f1": 0.4, "r_value": -0.1}
EDITS = {"ued": 0.2, "unit_error_rate": 0.5, "utterances": 3}
ABX = {"within": 0.1, "across": None, "distance": "identical"}


def write(folder: Path, name: str, value: object) -> str:
    (folder / name).write_text(json.dumps(value))
    return str(folder / name)


def test_what_a_file_holds_is_seen_from_its_keys(tmp_path: Path) -> None:
    files = [write(tmp_path, "l.json", {"encoder": "e", "layers": [LAYER]}), write(tmp_path, "a.json", ABX)]
    scores = read_scores([*files, f"noise=10:{write(tmp_path, 'x=1:y.json', EDITS)}"])
    assert scores.edits == [Edits("noise", 10.0, 0.2, 0.5, 3)]
    assert scores.layers[0].encoder == "e" and math.isnan(scores.layers[0].rows[0]["pnmi"])
    assert scores.abx[0].within == 0.1 and math.isnan(scores.abx[0].across)
    assert isinstance(scores.abx[0], Abx) and scores.unit_models == {}
    made = [{"input": "f"}, {"input": "u", "unit_model": "abc"}]
    path = write(tmp_path, "m.json", ABX | {"made_by": made})
    assert read_scores([path]).unit_models == {path: {"abc"}}


@pytest.mark.parametrize(
    ("value", "prefix", "message"),
    [(EDITS, "", "noise=20:"), (ABX, "noise=3:", "these are none"), ({"pnmi": 1}, "", "no scores of"),
     ([], "", "object"),
     ({"ued": "x"}, "noise=3:", "damaged"), ({"layers": [{}], "encoder": "e"}, "", "damaged"),
     ({"layers": 3, "encoder": "e"}, "", "damaged"), ({**ABX, "within": True}, "", "damaged"),
     ({**ABX, "within": float("inf")}, "", "damaged"), ({**ABX, "made_by": 3}, "", "damaged"),
     (EDITS, "noise=1-1:", "no number")],
)  # fmt: skip
def test_other_files_are_refused_by_name(tmp_path: Path, value: object, prefix: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_scores([prefix + write(tmp_path, "x.json", value)])
    with pytest.raises(DataError, match="nowhere"):
        read_scores(["nowhere.json"])


def test_an_empty_list_of_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no layers"):
        read_scores([write(tmp_path, "x.json", {"encoder": "e", "layers": []})])


def points(drawn: str) -> list[list[tuple[float, float]]]:
    """Of the line of each chart, in % of its frame."""
    paths = [a["d"] or "" for a in Document(drawn).all("path") if "thin" in (a.get("class") or "")]
    return [[tuple(map(float, p.split())) for p in d[1:].replace("M", "L").split("L")] for d in paths]  # type: ignore[misc]


def test_more_noise_is_to_the_right_and_all_charts_have_one_height() -> None:
    edits = [Edits("noise", s, u, 0.5, 3) for s, u in ((5.0, 0.4), (20.0, 0.1))]
    noise, pitch = points(edit_charts([*edits, Edits("pitch", 2.0, 0.4, 0.5, 3), Edits("pitch", 1.0, 0.1, 0.5, 3)]))
    assert noise[0][0] > noise[1][0] and noise[0][1] < noise[1][1]  # ascending by strength: 5 dB is drawn on the right
    assert pitch[0][1] == noise[1][1] and pitch[1][1] == noise[0][1]
    document = Document(edit_charts(edits))
    assert document.text("th", scope="row") == ["noise", "noise"]
    assert document.text("td") == ["5", "0.400", "0.500", "3", "20", "0.100", "0.500", "3"]


def test_no_line_is_drawn_over_the_place_where_nothing_changes() -> None:
    (both,) = points(edit_charts([Edits("stretch", s, 0.2, 0.5, 3) for s in (0.8, 1.2)]))
    assert len(both) == 3 and both[1][1] == 100.0
    (faster,) = points(edit_charts([Edits("stretch", s, 0.2, 0.5, 3) for s in (1.1, 1.2)]))
    assert len(faster) == 2


def test_one_strength_or_undefined_scores_can_be_drawn() -> None:
    assert len(points(edit_charts([Edits("reverb", 0.2, 0.2, 0.5, 3)]))[0]) == 1
    assert "undefined" in edit_charts([Edits("reverb", 0.2, math.nan, math.nan, 0)])
    rows = [{**LAYER, "pnmi": math.nan}]
    assert "undefined" in layer_charts([Layers("e", rows)], 0)


def test_layers_are_drawn_over_one_another_with_the_model_s_own_marked() -> None:
    rows = [{"layer": float(k), "probe": k / 10, "pnmi": 0.1, "boundary_f1": 0.1, "r_value": 0.1} for k in range(3)]
    document = Document(layer_charts([Layers("one", rows), Layers("two", rows)], 2))
    assert {"one", "two"} <= set(document.text("span"))
    assert len(document.all("line", class_="mark")) == 4
    assert not Document(layer_charts([Layers("one", rows)], 9)).all("line", class_="mark")


def test_of_many_layers_some_are_named_at_even_steps() -> None:
    rows = [{"layer": float(k), "probe": 0.5, "pnmi": 0.1, "boundary_f1": 0.1, "r_value": 0.1} for k in range(13)]
    drawn = layer_charts([Layers("one", rows)], None)
    axis = drawn[drawn.index('class="axis"') :][:2000].split("</svg>")[0]
    assert Document(f"<svg {axis}</svg>").text("text") == ["0", "2", "4", "6", "8", "10", "12"]


def test_decades_are_powers_of_ten_and_their_parts_where_those_are_few() -> None:
    assert decades(Range(-0.1, 3.2)) == [0, 1, 2, 3]
    assert [round(10**v) for v in decades(Range(0.9, 2.0))] == [10, 20, 50, 100]


def test_a_chart_in_powers_of_ten_by_hand() -> None:
    curve = Curve("a", np.array([1.0, 10.0, 100.0]), np.array([100.0, 0.0, 1.0]))
    drawn = chart([curve], label="x", x_name="rank", axes=Axes(Range(0, 2), Range(0, 2), log=True))
    assert 'd="M0.00 0.00M100.00 100.00"' in drawn  # what is not above 0 leaves a gap
    assert {"1", "10", "100"} <= set(Document(drawn).text("text"))


def test_shares_by_rank_by_hand() -> None:
    drawn = ranks([("units", np.array([10, 0, 80, 10]))], label="x")
    (path,) = [a["d"] or "" for a in Document(drawn).all("path")]
    high, low = np.log10(80) + 0.15, np.log10(10) - 0.1
    top = 100 - 100 * (np.log10(80) - low) / (high - low)
    assert path.startswith(f"M{100 * 0.12 / (np.log10(3) + 0.14):.2f} {top:.2f}L") and path.count("L") == 2
    assert ranks([("units", np.zeros(3, np.int64))], label="x") == ""


def test_the_median_is_that_of_the_lengths() -> None:
    counts = np.zeros(LONGEST_RUN + 1, np.int64)
    assert median_frames(counts) == 0
    counts[[1, 2, 5]] = 2, 1, 2
    assert median_frames(counts) == 2 == np.median([1, 1, 2, 5, 5])


def test_the_table_has_a_row_for_each_unit_the_most_frequent_first() -> None:
    joint = np.array([[0, 6], [0, 2]])
    document = Document(units_table(np.array([0, 4]), np.array([0, 2]), joint, ["a", "b"], 50.0))
    assert document.text("th", scope="row") == ["1", "0"]
    assert document.text("td") == ["4", "100.00 %", "40.0 ms", "a 75 %, b 25 %", "0", "0.00 %", "—", ""]
