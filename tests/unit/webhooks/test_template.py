"""Templates of messages: what they may do, and that no hostile one does harm or silences the plain text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from sidecar.config.channels import NotifyTarget, TemplateConfig
from tests.unit.webhooks.respond.incidents import incident
from webhooks.notify.message import document
from webhooks.notify.template import MAX_TEXT, TemplateError, Templates, render

DOCUMENT = document("opened", incident(shared_labels={"a": "1", "b": "2"}), key="k")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        pytest.param(
            "{{ incident.priority }} {{ title|upper }}", "P2 [P2] DB: DOWN", id="values and filters"
        ),
        pytest.param(
            "{% for n, v in incident.shared_labels.items() %}{{ n }}={{ v }};{% endfor %}",
            "a=1;b=2;",
            id="a loop",
        ),
        pytest.param("{% if incident.noise > 0.5 %}noise{% else %}real{% endif %}", "real", id="a condition"),
        pytest.param("{{ incident.causes|length }}{{ nothing|default('-') }}", "1-", id="what is not there"),
        pytest.param("{{ incident.shared_labels.values()|join(', ') }}", "1, 2", id="join"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert render(template, DOCUMENT) == text


LOOP = "{% for a in text %}"


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ ", id="broken"),
        pytest.param(
            "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}", id="attributes"
        ),
        pytest.param("{{ title|attr('__class__') }}", id="attributes by a filter"),
        pytest.param("{{ 'a' * 1000000000 }}", id="multiplied"),
        pytest.param("{{ 9 ** 9 ** 9 ** 9 }}", id="raised"),
        pytest.param("{{ '%1000000000d' % 1 }}", id="formatted"),
        pytest.param("{{ title|center(1000000000) }}", id="padded"),
        pytest.param("{{ range(999999999)|list }}", id="a range"),
        pytest.param(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", id="loops"
        ),
        pytest.param(LOOP * 4 + "{% endfor %}" * 4, id="loops over letters"),
        pytest.param("{% set x = 'a' %}" + "{% set x = x ~ x %}" * 60, id="doubled"),
        pytest.param("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", id="recursion"),
        pytest.param("{% include '/etc/passwd' %}", id="a file"),
        pytest.param("{{ title.format(1) }}", id="format"),
        pytest.param("{{ cycler.__init__.__globals__ }}", id="globals"),
        pytest.param("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", id="nested deeply"),
        pytest.param("{{ 1 / 0 }}", id="division"),
    ],
)
def test_a_hostile_template_is_refused_and_the_plain_text_goes_out(template: str) -> None:
    began = time.perf_counter()
    with pytest.raises(TemplateError):
        render(template, DOCUMENT)
    target = NotifyTarget(name="t", url=SecretStr("http://x"), template=TemplateConfig(text=template))
    assert Templates([target]).apply("t", dict(DOCUMENT)) == DOCUMENT
    assert time.perf_counter() - began < 10.0


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("x" * 20_000, id="long"),
        pytest.param(
            "{{ text" + "|replace('', text)|replace('e', 'eeeeeeeeeeeeeeee')" * 50 + " }}", id="replaced"
        ),
        pytest.param("{% for a in text %}{{ text }}{{ text }}{% endfor %}", id="a loop's output"),
        pytest.param("{{ text" + "|join('aaaaaaaaaaaaaaaa')" * 50 + " }}" + "{{ text }}" * 500, id="joined"),
    ],
)
def test_a_huge_output_is_cut(template: str) -> None:
    assert len(render(template, DOCUMENT)) == MAX_TEXT


PIECES = [
    *("{{ ", " }}", "{% ", " %}", "for x in ", "endfor", "if ", "endif", "set y = ", "text", "x", "incident"),
    *(".shared_labels", ".items()", "|join(text)", "|replace('e', text)", "|upper", "|list", "|sort", "~"),
    *(" ", "(", ")", "[", "]", "'", "1", "-", "*", "**", "|attr('__class__')", ".__class__", "{#", "#}"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
@settings(deadline=None)
def test_any_template_is_a_bounded_text_or_is_refused(template: str) -> None:
    try:
        made = render(template, DOCUMENT)
    except TemplateError:
        return
    assert len(made) <= MAX_TEXT


def test_a_target_has_its_own_words() -> None:
    words = TemplateConfig(title="{{ incident.priority }}\n!", text="see {{ incident.incident_id }}")
    target = NotifyTarget(name="t", url=SecretStr("http://x"), template=words)
    made = Templates([target]).apply("t", dict(DOCUMENT))
    assert (made["title"], made["text"]) == ("P2 !", "see i1")
    assert Templates([target]).apply("another", dict(DOCUMENT)) == DOCUMENT


def test_a_template_that_says_nothing_is_no_message_that_a_target_refuses() -> None:
    template = TemplateConfig(title="{{ '' }}", text="{% if incident.noise %}x{% endif %} \n")
    target = NotifyTarget(name="a", url=SecretStr("http://x"), template=template)
    changed = Templates([target]).apply("a", {"title": "t", "text": "plain", "incident": {}})
    assert (changed["title"], changed["text"]) == ("t", "plain")
