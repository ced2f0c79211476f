from metering.metrics import MAX_REASONS, bounded_reason


def test_reasons_beyond_the_first_few_share_one_label() -> None:
    labels = {bounded_reason(f"reason {number}") for number in range(100)}

    assert "other" in labels
    assert len(labels) <= MAX_REASONS + 1
