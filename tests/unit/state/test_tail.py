from launcher.state.tail import EventTail, TextTail, last_lines


def test_only_whole_lines_are_given_and_each_once(tmp_path):
    path = tmp_path / "log.txt"
    tail = TextTail(path)
    assert tail.new() == ""
    path.write_text("one\ntw")
    assert tail.new() == "one\n"
    assert tail.new() == ""
    with path.open("a") as stream:
        stream.write("o\nthree")
    assert tail.new() == "two\n"
    assert tail.rest() == "three"


def test_torn_events_are_skipped(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "loss", "step": 1}\n{"kind": "lo\n[1]\n{"no": "kind"}\n{"kind": "loss", "step": 2}\n{"kind": "loss", "st')
    tail = EventTail(path)
    assert [event["step"] for event in tail.new()] == [1, 2]
    with path.open("a") as stream:
        stream.write('ep": 3}\n')
    assert [event["step"] for event in tail.new()] == [3]


def test_last_lines_look_at_the_end_only(tmp_path):
    path = tmp_path / "log.txt"
    assert last_lines(path, 3) == []
    path.write_text("\n".join(str(number) for number in range(100)))
    assert last_lines(path, 3) == ["97", "98", "99"]
    assert last_lines(path, 50, reach=10) == ["96"[1:], "97", "98", "99"]
