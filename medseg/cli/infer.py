"""``medseg infer``: scans to segmentations."""

EXAMPLES = """[bold]Examples[/bold]
medseg infer scan.nii.gz -m hippocampus --preview"""


def command() -> None:
    """Segment scans."""
