"""The docks in low and narrow windows: nothing is pushed out of sight, and long texts fold."""

from __future__ import annotations

import pytest
from napari_medseg.panels.verdicts import banner

import medseg

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_APPEARANCE = (
    "this scan does not look like those brain was made from (another body part, modality, crop or "
    "orientation?): layout 0.31 (expected 0.62 to 1), foreground 0.12 (expected 0.2 to 0.7)"
)
_SPACING = (
    "brain is for voxels of 0.7 x 0.7 x 0.7 to 1.2 x 1.2 x 1.5 mm (sorted), this scan has 0.4 x 0.4 x 5 mm"
)


def _warning():
    reasons = (medseg.Reason("appearance", _APPEARANCE), medseg.Reason("spacing", _SPACING))
    return medseg.Verdict("warning", reasons)


def test_long_reasons_are_a_short_line_each_and_a_refusal_with_its_cure_stays_whole():
    shown = banner(_warning(), "Segmented with brain in 9.1 s.")
    introduction, headline, *lines = shown.summary.split("\n")
    assert (introduction, headline) == ("Segmented with brain in 9.1 s.", "Warning:")
    assert len(lines) == 2
    for line, reason in zip(lines, (_APPEARANCE, _SPACING), strict=True):
        assert line.endswith(" …")
        assert len(line) <= 80
        assert reason.startswith(line.removeprefix("• ").removesuffix(" …"))
        assert reason in shown.text
    refused = banner(medseg.Verdict.of("refused", "x", _APPEARANCE))
    assert refused.summary == refused.text


def test_a_folded_banner_shows_everything_on_demand(viewer, qtbot):
    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Segment")
    widget.banner.show_verdict(_warning())
    assert _APPEARANCE in widget.banner.text()
    assert _APPEARANCE not in widget.banner.shown_text
    widget.banner.details.click()
    assert _APPEARANCE in widget.banner.shown_text
    widget.banner.show_verdict(medseg.Verdict.of("warning", "odd", "something is odd"))
    assert widget.banner.shown_text == widget.banner.text() == "Warning: something is odd."
    assert not widget.banner.details.isVisibleTo(widget.banner)


def test_three_docks_fit_into_a_window_of_1280_by_800(viewer, qtbot):
    frame = viewer.window._qt_window
    docks = [
        viewer.window.add_plugin_dock_widget("medseg", name)[1]
        for name in ("Segment", "Correct", "Review queue")
    ]
    frame.resize(1280, 800)
    frame.show()
    qtbot.waitExposed(frame)
    assert frame.minimumSizeHint().height() <= 800
    for dock in docks:  # wide enough for its content: what is too high scrolls, nothing is cut at the side
        content, bar = dock.widget().minimumSizeHint().width(), dock.verticalScrollBar().sizeHint().width()
        assert content + bar <= dock.minimumWidth(), type(dock)
    frame.hide()


def test_long_names_in_the_queue_are_cut_in_the_middle_and_told_whole(napari, qtbot):
    from napari_medseg._qt.review_table import ReviewTable
    from napari_medseg.reviewing.review import ReviewCase
    from napari_medseg.reviewing.review_files import CaseFiles
    from napari_medseg.reviewing.review_rows import review_rows
    from qtpy.QtCore import Qt

    table = ReviewTable()
    qtbot.addWidget(table)
    table.show()
    name = "study-2024_patient-000123_visit-2_t1w_corrected"
    table.show_rows(
        review_rows([ReviewCase(CaseFiles(name, (), None, 1.3), "in progress", "A. Reader", None, ())])
    )
    assert table.textElideMode() == Qt.TextElideMode.ElideMiddle
    assert table.item(0, 0).toolTip().startswith(name)
    table.resize(330, 200)
    assert table.columnWidth(0) >= 120
    table.resize(700, 200)
    others = sum(table.columnWidth(n) for n in range(1, 5))
    assert table.columnWidth(0) == table.viewport().width() - others > 300
