"""Which slices a picture shows."""

from __future__ import annotations

import numpy as np

from SFDALib.results.slices import slices_that_say_most


class TestSlicesThatSayMost:
    def changes(self, *counts: int) -> tuple[np.ndarray, np.ndarray]:
        source = np.zeros((len(counts), 1, 100), int)
        final = source.copy()
        for k, count in enumerate(counts):
            final[k, 0, :count] = 1
        return source, final

    def test_are_those_that_change_most_but_no_neighbours(self) -> None:
        assert slices_that_say_most(*self.changes(0, 1, 9, 8, 0, 3, 0, 0, 2)) == [8, 5, 2]

    def test_are_four_at_most_from_head_to_feet(self) -> None:
        assert slices_that_say_most(*self.changes(*[5, 0] * 6)) == [6, 4, 2, 0]

    def test_spread_over_a_tall_change(self) -> None:
        # 80 changed slices: at least 10 apart
        chosen = slices_that_say_most(*self.changes(*range(20, 100)))
        assert chosen == [79, 69, 59, 49]

    def test_are_the_largest_foreground_where_nothing_changed(self) -> None:
        _, final = self.changes(0, 1, 9, 8, 0, 0)
        assert slices_that_say_most(final, final) == [2]

    def test_are_around_the_middle_where_there_is_nothing(self) -> None:
        assert slices_that_say_most(*self.changes(*[0] * 9)) == [6, 4, 2, 0]
