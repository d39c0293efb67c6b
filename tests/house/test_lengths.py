"""What counts lines counts all of a function, and finds it wherever it stands."""

from tests.support.house.lengths import long_functions

SOURCE = '''
@decorated(
    by=this,
)
def three(
    x,
): ...

class Thing:
    async def four(self):
        """Says what."""
        if self:
            def inner(): ...
'''


def test_functions_are_measured_from_def_to_their_last_line() -> None:
    assert list(long_functions(SOURCE, 2)) == [("three", 3), ("Thing.four", 4)]
    assert list(long_functions(SOURCE, 3)) == [("Thing.four", 4)]
    assert list(long_functions(SOURCE, 0))[-1] == ("Thing.four.inner", 1)
