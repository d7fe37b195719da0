"""What servers' replies mean, in their own words and shapes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import completion, error

from prompt_oirl.llms import answers_in_replies, server_replies

SENT = {"temperature": 0.6, "top_p": 0.9, "seed": 1, "max_tokens": 100}
PROVIDER = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
RATE = (
    "Rate limit reached for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Used 9000. "
    "Please try again in 6s. You can increase your rate limit by adding a payment method to your account at "
    "https://platform.openai.com/account/billing."
)
QUOTA = "You exceeded your current quota, please check your plan and billing details."
VLLM = (
    "This model's maximum context length is {window} tokens. However, you requested 5000 tokens (4900 in the "
    "messages, 100 in the completion). Please reduce the length of the messages or completion."
)

TGI = (
    "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4090 `inputs` tokens and 64 `max_new_tokens`"
)
GROQ = (
    "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000. Need more "
    "tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
)


def read(status: int, body: Any, **more: Any) -> server_replies.Refusal:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return server_replies.read_refusal(status, data, more.pop("sent", SENT), **more)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, error("Incorrect API key provided"), "account"),
        (402, error("Insufficient Balance"), "account"),
        (429, error(QUOTA, type="insufficient_quota", code="insufficient_quota"), "account"),
        (429, error(QUOTA), "account"),
        (429, error("Your account org-x is suspended", type="exceeded_current_quota_error"), "account"),
        (429, error("Quota exceeded", details=[{"quotaId": "GenerateRequestsPerDayPerProject"}]), "account"),
        (429, error("余额不足或无可用资源包,请充值。", code="1113"), "account"),
        (400, error("Your credit balance is too low to access the API."), "account"),
        (400, error("Budget has been exceeded! Current cost: 10, Max budget: 9"), "account"),
        (
            400,
            {"code": "Arrearage", "message": "Access denied, please make sure your account is fine."},
            "account",
        ),
        (403, error("You have no more credits left: your monthly spending limit is reached"), "account"),
        (403, error("Key limit exceeded (total limit)", code=403), "account"),
        (403, error("Project does not have access to model x", code="model_not_found"), "account"),
        (403, error("Your organization has been disabled for violating our content policy"), "account"),
        (403, "<html><head><title>Attention Required! | Cloudflare</title></head>blocked</html>", "account"),
        (403, {"error": "Unsupported country"}, "account"),
        (404, error("The model `x` does not exist"), "account"),
        (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model"}, "account"),
        (400, error("x is not a valid model ID", code=400), "account"),
        (400, error("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"), "account"),
        (422, error("temperature: range: 0..1"), "account"),
        (403, error("Your input was flagged. No credits were charged."), "content_filter"),
        (200, error("Insufficient credits", code=402), "account"),
        (200, {"code": 401, "msg": "invalid token"}, "account"),
        (429, error(RATE, code="rate_limit_exceeded"), "later"),
        (429, [error(f"{QUOTA} Please retry in 34s", details=[{"quotaId": "RequestsPerMinute"}])], "later"),
        (429, "Too many requests", "later"),
        (429, error("Too many tokens, please wait before trying again."), "later"),
        (503, error("Service unavailable: our billing service is down"), "later"),
        (529, error("Overloaded", type="overloaded_error"), "later"),
        (200, error("Provider returned error", code=502), "later"),
        (200, error("The model is overloaded, try again"), "later"),
        (400, error(PROVIDER, code="content_filter", param="prompt"), "content_filter"),
        (
            400,
            error("x", innererror={"content_filter_result": {"hate": {"filtered": True}}}),
            "content_filter",
        ),
        (403, error("Your input was flagged", metadata={"reasons": ["violence"]}), "content_filter"),
        (
            403,
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: m",
            },
            "content_filter",
        ),
        (400, error("<400> InternalError.Algo.DataInspectionFailed: Input text data may"), "content_filter"),
        (400, error("Invalid prompt: your prompt was flagged as potentially violating"), "content_filter"),
        (200, error("The response was blocked by the safety system", code=403), "content_filter"),
        (400, error(VLLM.format(window=4096)), "context_length"),
        (400, error("x", code="context_length_exceeded"), "context_length"),
        (400, error("the request exceeds the available context size"), "context_length"),
        (413, "<html><title>413 Request Entity Too Large</title></html>", "context_length"),
        (429, error("Request too large for model `x` on tokens per minute (TPM)"), "context_length"),
        (422, error("prompt is too long: 210000 tokens > 200000 maximum"), "context_length"),
        (400, error(VLLM.format(window=64)), "account"),  # no question fits beside such an answer
        (
            400,
            error("max_tokens is too large: 9. This model supports at most 8", param="max_tokens"),
            "account",
        ),
        (400, error("temperature must be between 0 and 2", param="temperature"), "account"),
        # A range of the length, which no renaming mends
        (400, error("Invalid max_tokens value, the valid range of max_tokens is [1, 32]"), "account"),
        (400, error("max_tokens: 64 > 32, which is the maximum allowed number of output tokens"), "account"),
        (400, error("a maxOutputTokens value of 64 but the supported range is from 1 to 33"), "account"),
        (
            400,
            error("Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 128."),
            "account",
        ),
        (
            422,
            {"detail": [{"type": "less_than_equal", "loc": ["body", "max_tokens"], "msg": "at most 32"}]},
            "account",
        ),
        # Too little room beside this question
        (400, error("max_tokens must be at least 1, got -12.", param="max_tokens"), "context_length"),
        (422, error(TGI, param="max_tokens"), "context_length"),
        (422, error("Input validation error: `inputs` must have less than 1024 tokens."), "context_length"),
        (
            400,
            error("The input token count (12) exceeds the maximum number of tokens allowed (8)."),
        )
        + ("context_length",),
        (400, error("The decoder prompt is longer than the maximum model length of 8."), "context_length"),
        (400, error("InvalidParameter: Range of input length should be [1, 30720]"), "context_length"),
        (500, error("context shift is disabled", code=500), "context_length"),
        (413, error(GROQ, type="tokens", code="rate_limit_exceeded"), "context_length"),
        # Nothing that could be read was written
        (400, error("Could not finish the message because max_tokens was reached. Try higher."), "length"),
        (400, error("Tool choice is none, but model called a tool", code="tool_use_failed"), "tool_calls"),
        (400, error("Parsing failed.", code="output_parse_failed", failed_generation="x"), "empty"),
        # Content in other words
        (400, error("Content Exists Risk"), "content_filter"),
        (500, error("The response was filtered", code="content_filter"), "content_filter"),
        (500, error("x", innererror={"code": "ResponsibleAIPolicyViolation"}), "content_filter"),
        (200, {"status_code": 1026, "status_msg": "input new_sensitive"}, "content_filter"),
        # The account in other words
        (403, error("Your resource has been temporarily blocked: content policies violated"), "account"),
        (429, error("Your access was terminated due to violation of our policies"), "account"),
        (429, error("You are using a Trial key, which is limited to 1000 API calls / month."), "account"),
        (429, error("You reached the set limit and the model service has been paused."), "account"),
        (400, error("You have reached your specified API usage limits."), "account"),
        (400, error("Model Not Exist"), "account"),
        (200, {"status_code": 1008, "status_msg": "insufficient balance"}, "account"),
        (498, error("Flex tier capacity exceeded, try again later"), "later"),
        (400, error("Conversation roles must alternate user/assistant"), "other"),
        (418, "", "other"),
    ],
)
def test_refusals_by_kind(status: int, body: Any, kind: str) -> None:
    found = read(status, body)
    assert (found.finish_reason or found.kind) == kind


@pytest.mark.parametrize(
    ("status", "body", "names"),
    [
        (
            400,
            error("'max_tokens' is not supported with this model. Use 'max_completion_tokens'"),
            ["max_tokens"],
        ),
        (400, error("x", param="max_tokens", code="unsupported_parameter"), ["max_tokens"]),
        (
            400,
            error("'temperature' does not support 0.6. Only the default (1) is supported"),
            ["temperature"],
        ),
        (400, error("`temperature` is deprecated for this model."), ["temperature"]),
        (400, error("invalid temperature: only 1 is allowed for this model"), ["temperature"]),
        (400, error("`temperature` may only be set to 1 when thinking is enabled."), ["temperature"]),
        (400, error("Unrecognized request argument supplied: seed"), ["seed"]),
        (400, error('Invalid JSON payload received. Unknown name "seed": Cannot find field.'), ["seed"]),
        (400, error("`temperature` and `top_p` cannot both be specified for this model."), ["top_p"]),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "no"}]}, ["seed"]),
        (
            422,
            {"detail": [{"loc": ["body", "top_p"]}, {"loc": ["body", "seed"]}, {"loc": ["body", "x"]}]},
            ["top_p", "seed"],
        ),
        (422, {"object": "error", "message": {"detail": [{"loc": ["body", "seed"]}]}}, ["seed"]),
        (422, error("top_p must be 1 when using greedy sampling."), ["top_p"]),
        (500, error("UnsupportedParamsError: no", param="seed"), ["seed"]),
        (500, error("create_completion() got an unexpected keyword argument 'seed'"), ["seed"]),
        (400, error("Unknown parameter: 'max_tokens'."), ["max_tokens"]),
        (200, error("seed is not supported", code=400), ["seed"]),
        (400, "Error: parameter top-p isn't supported here", ["top_p"]),
    ],
)
def test_refused_parameters(status: int, body: Any, names: list[str]) -> None:
    found = read(status, body)
    assert found.kind == "parameter" and sorted(found.parameters) == sorted(names)


def test_the_words_of_a_question_do_not_decide() -> None:
    question = "What seed is invalid? Is the content policy flagged?"
    assert read(400, error(f"Cannot read: {question}"), echoed=(question,)).kind == "other"
    flagged = {"flagged_input": "My suspended account has no credit: unauthorized", "reasons": ["violence"]}
    assert read(403, error("Your input was flagged", metadata=flagged)).finish_reason == "content_filter"
    assert read(422, {"detail": [{"loc": ["body", "messages", 0], "input": question}]}).kind == "other"


@pytest.mark.parametrize(
    "word", ["content.", "content a ", "exceed ", "quota-", "flagged ", "violates a ", "max_tokens "]
)
def test_long_refusals_are_read_quickly(word: str) -> None:
    started = time.process_time()
    read(400, error(word * 100_000))
    assert time.process_time() - started < 1.5


def test_a_server_that_says_to_come_back_tomorrow_is_not_waited_for() -> None:
    assert read(429, error("slow down"), wait=30.0).kind == "later"
    assert read(429, error("slow down"), wait=50_000.0).kind == "account"


def test_sentences_are_one_bounded_line_without_the_key() -> None:
    said = server_replies.sentence(
        json.dumps(error("a\nb\x1b[31m\u202e key sk-secret" + "x" * 999)).encode(), "sk-secret"
    )
    assert len(said) == server_replies.SENTENCE and said.isprintable() and said.startswith("a b [31m")
    assert "sk-secret" not in said
    page = b"<!doctype html><html><head><title>502 Bad Gateway &amp; co</title></head><body>x</body>"
    assert server_replies.sentence(page) == "502 Bad Gateway & co"
    assert server_replies.sentence(b"\xff\xfe") and server_replies.sentence(b" ") == "an empty reply"
    detail = {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
    assert server_replies.sentence(json.dumps(detail).encode()) == "body.seed: Extra inputs are not permitted"
    wrapped = error("Provider returned error", metadata={"raw": "model is down"})
    assert server_replies.sentence(json.dumps(wrapped).encode()) == "Provider returned error; model is down"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "param", "loc", "detail", "choices", "finish_reason", "content"]
                + ["usage", "prompt_tokens", "completion_tokens", "refusal", "text", "type", "tool_calls"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from([200, 400, 403, 422, 429, 500]))
def test_any_json_is_an_answer_or_a_refusal(data: Any, status: int) -> None:
    conversation = [{"role": "user", "content": "question"}]
    body = json.dumps(data).encode()
    refusal = server_replies.read_refusal(status, body, SENT)
    assert set(refusal.parameters) <= set(SENT) and refusal.sentence.isprintable()
    inside = answers_in_replies.error_inside(data)
    answer = None if inside else answers_in_replies.read_answer(data, conversation)
    if answer:
        assert isinstance(answer.text, str) and 0 <= answer.tokens_out < 2**63 and answer.tokens_in >= 0
        told = answer.finish_reason not in ("stop", "length")
        assert (answer.refusal is not None) == (
            told or (answer.finish_reason == "length" and not answer.text.strip())
        )


def answer_of(data: Any):  # type: ignore[no-untyped-def]
    return answers_in_replies.read_answer(data, [{"role": "user", "content": "12345"}])


@pytest.mark.parametrize(
    ("data", "text", "reason"),
    [
        (completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab", "stop"),
        (completion([{"type": "thinking", "thinking": "no"}, {"type": "text", "text": "b"}]), "b", "stop"),
        (completion("a", "MAX_TOKENS", reasoning_content="42"), "a", "length"),
        (completion("a", "max_tokens"), "a", "length"),
        (completion("a", "token-limit reached"), "a", "length"),
        (completion("a", "end_turn"), "a", "stop"),
        (completion("a", None), "a", "stop"),  # type: ignore[arg-type]
        (completion("", "blocked_by_safety"), "", "content_filter"),
        (completion(None, "length", reasoning_content="42"), "", "length"),
        (completion("a", "FinishReason.SAFETY"), "a", "content_filter"),
        (completion(None, "content_filter"), "", "content_filter"),
        (completion(None, refusal="I cannot help"), "", "refused"),
        (completion([{"type": "refusal", "refusal": "I cannot help"}]), "", "refused"),
        (completion(None, "refusal"), "", "refused"),
        (completion(None, "tool_calls", tool_calls=[{"id": "x"}]), "", "tool_calls"),
        (completion(None, tool_calls=[{"id": "x"}]), "", "tool_calls"),
        (completion(""), "", "empty"),
        (completion(None), "", "empty"),
        ({**completion(""), "choices": None}, "", "empty"),
        ({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, "", "content_filter"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "", "content_filter"),
        ({"choices": [{"finish_reason": "SAFETY"}], "usage": {"prompt_tokens": 3}}, "", "content_filter"),
    ],
)
def test_answers_that_are_no_plain_text(data: Any, text: str, reason: str) -> None:
    answer = answer_of(data)
    assert (answer.text, answer.finish_reason) == (text, reason)
    if "prompt_tokens" in data.get("usage", {}):
        assert answer.tokens_in == data["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    "data",
    [
        [],
        "x",
        {},
        {"choices": []},
        {"content": "a", "usage": {"input_tokens": 3}},
        {"choices": ["x"]},
        completion("a", "error"),
    ],
)
def test_what_is_no_answer(data: Any) -> None:
    assert answer_of(data) is None


@pytest.mark.parametrize("count", [-1, 1.5, True, "twelve", float("nan"), 10**12, 10**400, [1], {"a": 1}])
def test_counts_beyond_sense_are_estimated(count: Any) -> None:
    data = {**completion("x" * 41), "usage": {"prompt_tokens": count, "completion_tokens": count}}
    answer = answer_of(data)
    assert (answer.tokens_in, answer.tokens_out) == (2, 11) and answers_in_replies.counts_oddly(data)
    assert not answers_in_replies.counts_oddly(completion("x")) and not answers_in_replies.counts_oddly({})


@pytest.mark.parametrize(
    ("counts", "used"),
    [
        ({"prompt_tokens": 50, "completion_tokens": 40, "total_tokens": 90}, (50, 40)),
        ({"prompt_tokens": 50, "completion_tokens": 40}, (50, 40)),
        ({"prompt_tokens": 50, "completion_tokens": 340, "total_tokens": 390}, (50, 340)),
        (
            {"prompt_tokens": 50, "completion_tokens": 40, "total_tokens": 390},
            (50, 340),
        ),  # 300 of thought
        ({"prompt_tokens": 50, "completion_tokens": 0, "total_tokens": 114}, (50, 64)),
        ({"prompt_tokens": 50, "total_tokens": 90}, (50, 40)),
        ({"completion_tokens": 40, "total_tokens": 90}, (50, 40)),
        ({"total_tokens": 90}, (2, 88)),  # "12345" is taken at two tokens
        ({"input_tokens": 50, "output_tokens": 40}, (50, 40)),
        ({"prompt_tokens": 50.0, "completion_tokens": "40", "total_tokens": "390"}, (50, 340)),
        ({"prompt_tokens": 50, "completion_tokens": 40, "total_tokens": 0}, (50, 40)),
    ],
)
def test_all_that_was_written_counts(counts: Any, used: tuple[int, int]) -> None:
    data = {**completion("x"), "usage": counts}
    answer = answer_of(data)
    assert (answer.tokens_in, answer.tokens_out) == used and not answers_in_replies.counts_oddly(data)
