"""Chat masks: which tokens of a rendered conversation are trained."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config.problem import UserError
from runtime.data.chat import ChatStrategy
from runtime.data.conversation import ConversationShape

pytestmark = pytest.mark.train

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
MARKS = {"<|im_start|>", "<|im_end|>"}


def strategy(tokenizer: Any, *, template: str = CHAT, shape: dict[str, Any] | None = None, **options: Any) -> ChatStrategy:
    return ChatStrategy(
        tokenizer=tokenizer,
        template=template,
        shape=ConversationShape(**(shape or {})),
        eos_id=tokenizer.eos_token_id,
        eot_ids=frozenset({tokenizer.eos_token_id}),
        **options,
    )


def trained(made: ChatStrategy, *rows: dict[str, Any]) -> list[str]:
    """The trained text of each row, spans joined by `|`."""
    columns = {key: [row.get(key) for row in rows] for key in {key for row in rows for key in row}}
    table = made.encode(columns, range(len(rows))).to_pydict()
    texts = []
    for ids, labels in zip(table["input_ids"], table["labels"], strict=True):
        assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))
        spans, inside = [], False
        for token, label in zip(ids, labels, strict=True):
            if label != -100 and not inside:
                spans.append([])
            inside = label != -100
            if inside:
                spans[-1].append(token)
        texts.append("|".join(made.tokenizer.decode(span) for span in spans))
    return texts


def turns(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


TALK = turns(("system", "be kind"), ("user", "hi"), ("assistant", "hello"), ("user", "and"), ("assistant", "there"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "hello<|im_end|>|there<|im_end|>"),
        ({"train_on_eos": "all"}, "<|im_end|>|<|im_end|>|hello<|im_end|>|<|im_end|>|there<|im_end|>"),
        ({"train_on_eos": "last", "train_on_eot": "last"}, "hello|there<|im_end|>"),
        ({"train_on_eos": "none", "train_on_eot": "none"}, "hello|there"),
        ({"train_on_eos": "none", "train_on_eot": "turn"}, "hello<|im_end|>|there<|im_end|>"),
        ({"roles_to_train": frozenset({"user"})}, "hi<|im_end|>|and<|im_end|>"),
        ({"roles_to_train": frozenset()}, ""),
        ({"train_on_inputs": True}, "be kind<|im_end|>|hi<|im_end|>|hello<|im_end|>|and<|im_end|>|there<|im_end|>"),
    ],
)
def test_roles_and_end_tokens(tokenizer, options, expected):
    assert trained(strategy(tokenizer, **options), TALK) == [expected]


def test_an_empty_answer_trains_nothing_not_even_its_end(tokenizer):
    assert trained(strategy(tokenizer), turns(("user", "hi"), ("assistant", ""))) == [""]


def test_a_message_says_itself_whether_it_is_trained(tokenizer):
    row = {
        "messages": [
            {"role": "user", "content": "hi", "t": True},
            {"role": "assistant", "content": "no", "t": False},
            {"role": "assistant", "content": "yes"},
        ]
    }
    assert trained(strategy(tokenizer, shape={"message_field_training": "t"}), row) == ["hi<|im_end|>|yes<|im_end|>"]


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([(0, 4, False), (5, 17, True)], " there friend<|im_end|>"),
        ([(0, 4, False)], " there friend<|im_end|>"),
        ([(0, 4, True)], "hello|<|im_end|>"),
        # " there" is one token and its last letters are not trained: none of it is.
        ([(0, 8, True)], "hello|<|im_end|>"),
    ],
)
def test_parts_of_a_message_by_character_offsets(tokenizer, details, expected):
    marks = [{"begin_offset": begin, "end_offset": end, "train": train} for begin, end, train in details]
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello there friend", "d": marks}]}
    assert tokenizer.tokenize("hello there friend") == ["hello", "Ġthere", "Ġfriend"]
    assert trained(strategy(tokenizer, shape={"message_field_training_detail": "d"}), row) == [expected]


def test_parts_of_content_carry_their_own_marks(tokenizer):
    parts = [{"type": "text", "text": "hello", "train": False}, {"type": "text", "text": " there friend", "weight": 1}]
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": parts}]}
    assert trained(strategy(tokenizer), row) == [" there friend<|im_end|>"]


def test_offsets_count_in_the_message_even_when_the_template_trims_it(tokenizer):
    template = CHAT.replace("m.content", "m.content | trim")
    row = {"messages": [{"role": "assistant", "content": "  hello there", "d": [{"begin_offset": 0, "end_offset": 6, "train": True}]}]}
    assert trained(strategy(tokenizer, template=template, shape={"message_field_training_detail": "d"}), row) == ["hello|<|im_end|>"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("m.content | upper", "HELLO<|im_end|>"),
        ("'%s' | format(m.content)", "hello<|im_end|>"),
        # The quotes are the template's, as is everything it would write around any other content.
        ("m.content | tojson", "hello|<|im_end|>"),
    ],
)
def test_a_template_that_makes_new_text_of_a_message_is_masked_all_the_same(tokenizer, body, expected):
    assert trained(strategy(tokenizer, template=CHAT.replace("m.content", body)), turns(("user", "hi"), ("assistant", "hello"))) == [
        expected
    ]


def test_a_template_may_join_texts_any_way(tokenizer):
    template = "{% for m in messages %}{% set t %}{{ ['<|im_start|>' ~ m.role, m.content ~ '<|im_end|>'] | join('\n') }}{% endset %}{{ t ~ '\n' }}{% endfor %}"
    assert trained(strategy(tokenizer, template=template), TALK) == ["hello<|im_end|>|there<|im_end|>"]


@pytest.mark.parametrize(("gap", "expected"), [("~~~", "hello|<|im_end|>"), ("~~~~", "hello")])
def test_the_end_token_may_come_up_to_three_tokens_later(tokenizer, gap, expected):
    assert len(tokenizer.tokenize(gap)) == len(gap)
    made = strategy(tokenizer, template=CHAT.replace("}}<|im_end|>", "}}" + gap + "<|im_end|>"))
    assert trained(made, turns(("user", "hi"), ("assistant", "hello"))) == [expected]


def test_bytes_of_one_character_are_all_trained(tokenizer):
    assert trained(strategy(tokenizer), turns(("user", "🦊"), ("assistant", "ok 👩‍🚀"))) == ["ok 👩‍🚀<|im_end|>"]


def test_thoughts_are_split_off_and_handed_to_the_template(tokenizer):
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.thought %}[{{ m.thought }}]{% endif %}{{ m.content }}<|im_end|>{% endfor %}"
    shape = {"split_thinking": True, "template_thinking_key": "thought"}
    rows = [
        turns(("assistant", text))
        for text in ("<think>\nhm\n</think>\n\nyes", "<reasoning>hm</reasoning>yes", "<|begin_of_thought|>hm<|end_of_thought|>yes")
    ]
    assert trained(strategy(tokenizer, template=template, shape=shape), *rows) == ["hm]yes<|im_end|>"] * 3


def test_rows_of_other_shapes_are_mapped(tokenizer):
    shape = {"field_messages": "conversations", "properties": {"role": "from", "content": "value"}, "field_system": "sys"}
    row = {"sys": "be kind", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    made = strategy(tokenizer, shape=shape)
    assert trained(made, row) == ["hello<|im_end|>"]
    ids = made.encode({key: [value] for key, value in row.items()}, [0]).to_pydict()["input_ids"][0]
    assert tokenizer.decode(ids).startswith("<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nhi")


def test_system_messages_can_be_left_out(tokenizer):
    made = strategy(tokenizer, shape={"drop_system_message": True})
    assert "be kind" not in tokenizer.decode(made.encode({key: [value] for key, value in TALK.items()}, [0]).to_pydict()["input_ids"][0])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": []}, "row 8: `messages` must be a list"),
        ({"messages": ["hi"]}, "message 0"),
        ({"messages": [{"from": "human", "value": "hi"}]}, "its keys are from, value"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": "{"}, "not JSON"),
    ],
)
def test_a_row_of_the_wrong_shape_is_named(tokenizer, row, told):
    with pytest.raises(UserError, match=told):
        strategy(tokenizer).encode({key: [value] for key, value in row.items()}, [7])


def test_a_template_that_refuses_a_conversation_names_the_row(tokenizer):
    template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(UserError, match="row 1: the chat template refuses the conversation: roles must alternate"):
        strategy(tokenizer, template=template).encode({"messages": [TALK["messages"]]}, [0])


words = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Co", "Cn")), min_size=1, max_size=20).filter(
    lambda text: not any(mark in text for mark in MARKS) and text.strip()
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), words), min_size=1, max_size=6))
def test_exactly_the_answers_are_trained_whatever_their_text(tokenizer, pairs):
    expected = "|".join(f"{content}<|im_end|>" for role, content in pairs if role == "assistant")
    assert trained(strategy(tokenizer), turns(*pairs)) == [expected]


def test_tool_calls_are_trained_as_the_template_writes_them(tokenizer):
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}({{ c.function.arguments | tojson }})</call>{% endfor %}<|im_end|>\n{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    row = {
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "2"},
        ]
    }
    assert trained(strategy(tokenizer, template=template), row) == ['<call>f({"x": 1})</call><|im_end|>']


def test_tool_calls_a_template_would_leave_out_are_refused(tokenizer):
    row = {
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        ]
    }
    with pytest.raises(UserError, match="row 1: it has tool calls, which the chat template would leave out"):
        trained(strategy(tokenizer), row)


def test_strategies_can_be_sent_to_other_processes(tokenizer):
    import pickle

    made = pickle.loads(pickle.dumps(strategy(tokenizer)))
    assert trained(made, TALK) == ["hello<|im_end|>|there<|im_end|>"]
