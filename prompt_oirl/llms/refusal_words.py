"""The words by which chat servers tell why they refuse, and how answers ended.

Gathered from what OpenAI, Azure, Mistral, Gemini, Groq, xAI, OpenRouter, Qwen, DeepSeek, Zhipu, Moonshot,
vLLM, llama.cpp and litellm send. Each pattern is searched in codes and sentences alike, whatever their case.
"""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.I)


def _near(first: str, then: str, words: int = 6) -> str:
    """`first`, then at most so many words, then `then`."""
    return rf"(?:{first})\W(?:\S+\s+){{0,{words}}}?\S*(?:{then})"


# How an answer ended, by what its finish reason holds; the first that fits.
FINISH_REASONS = {
    "content_filter": _any(
        "filter|safety|block|prohibit|recitation|spii|sensitive|moderat|guardrail|language"
    ),
    "refused": _any("refus|declin"),
    "tool_calls": _any("tool|function"),
    # What the server cut short for want of room is an answer that ends early, paid for like the others.
    "length": _any("length|max|limit|window|truncat|insufficient|abort|cancel"),
    "error": _any("error|fail"),
}
# Codes and phrases that mean money or key, whatever the status.
NO_MONEY = _any(
    r"insufficient[_ ](?:user[_ ])?(?:quota|balance|credits?|funds?)",
    r"exceeded_current_quota|billing_hard_limit|billing_not_active|budget_exceeded|account_deactivated",
    r"arrear|overdue|good standing|欠费|余额|充值|unauthori[sz]ed|authentication",
    r"api[ _]key[ _](?:is )?(?:not valid|invalid|expired|missing)|(?:invalid|incorrect)[ _]api[ _]key",
)
# Words that may mean money; sentences about rates have them too ("add a payment method for higher limits").
MONEY = _any(
    r"billing|payment|prepaid|top[- ]?up|recharge|subscription",
    _near(
        r"(?:exceed|exhaust|reach|run out|used up|out of|not enough)\w*",
        "quota|credit|balance|budget|spend|allowance|usage limit",
    ),
    _near(
        r"quota|credits?|balance|budget|spend\w*|usage limit|key limit|allowance|free tier",
        "exceed|exhaust|deplet|used up|reached|too low|insufficient|negative|expired|run out|limit",
    ),
)
RATE = _any(
    r"per[ _-]?(?:minute|second|min\b|sec\b|hour)|\b[rt]pm\b|(?:try again|retry) (?:in|after)|retrydelay",
    r"rate[ _-]?limit|too many|concurren|throttl|call rate",
)
LONG_RATE = _any(
    r"per[ _-]?(?:day|week|month)|/ ?(?:day|month)\b|daily|weekly|monthly|regain access|\b[rt]pd\b"
)
# Words of what waiting does not help, and of what it does.
ENDED = _any(
    r"quota|terminated|trial\b|billing|credit|budget|spend|payment|suspend",
    r"reached (?:(?!rate)\w+ ){0,5}?limit|(?<!rate )limit (?:was |has been )?reached",
)
TIMED = _any(
    r"per[ _-]?(?:minute|second|min\b|sec\b|hour)|\b[rt]pm\b|retrydelay|(?:try again|retry) (?:in|after) \d"
)
ACCOUNT_STATE = _any(
    r"(?:account|organi[sz]ation|user|team|project|key|subscription|resource|access|service) "
    r"(?:has been|have been|is|was|are) "
    r"(?:\w+ ){0,4}?(?:flagged|suspend|disabled|deactivat|block|bann|terminat|revok|restrict|expired|paus)",
    r"(?:account|organi[sz]ation) violat|login fail|location is not supported",
)

# What a server echoes of a request; the words of a question must not decide what a refusal means.
ECHOES = re.compile(
    r"ctx|url|user_id|request_id|failed_generation|messages|body|request|\w*(?:input|prompt|query)", re.I
)
_SUBJECT = r"(?:input|prompt|request|message|question|output|response|answer|completion|text|content)s?"
CONTENT = _any(
    r"content[_ -]?(?:filter|policy|policies|management|moderation|violat|safety)|contentfilter",
    r"responsible_?ai|data_?inspection_?failed|moderat(?:ion|ed)|guardrail|policy[_ ]violation|block_?reason",
    r"safety[_ ](?:check|system|filter|polic|setting|reason)|usage (?:guideline|polic)",
    r"prohibited[_ ](?:content|use)|敏感|违规",
    r"(?:inappropriate|sensitive|harmful|unsafe|offensive) (?:content|input|prompt|word|text|material)",
    _near(_SUBJECT, "flagged|unsafe|harmful|inappropriate|sensitive", 8),
    _near("flagged", rf"\b{_SUBJECT}\b", 5),
    r"blocked (?:the |your )?(?:prompt|content|output|response)",
    _near("blocked by", "content|safety|filter|polic|moderat", 4),
    _near(r"violat\w*", "polic|guideline|safety|content"),
    r"contents? (?:exists?|poses?|is|at) (?:high )?risk|considered high risk",
)
CONTENT_CODE = _any(r"content_filter|responsible_?ai_?policy_?violation|data_?inspection_?failed")
CONTEXT = _any(
    r"context[_ -]?(?:length|window|size|shift)|maximum context|n_ctx|request_too_large",
    r"string_above_max_length|too many (?:input |prompt )?tokens|reduce the length",
    r"(?:prompt|input|message|request|content)s? (?:\w+ ){0,3}?too (?:long|large|many)",
    r"(?:maximum|range of) (?:input|prompt|sequence) length|inputs?\W+must have less than \d+ tokens",
    r"inputs?\W+(?:tokens )?\+ \W?max|must be at least 1, got -",  # -12 is the room that the question leaves
    _near(
        r"(?:exceed|longer than|greater than|larger than|more than)\w*",
        r"context|max_?model_?len|maximum model length|maximum number of (?:input )?tokens allowed"
        r"|input (?:tokens|length)|sequence length|token limit",
        8,
    ),
)
WINDOW = re.compile(r"(?:maximum context length (?:is|of)|max_new_tokens\W+must be <=) (\d+)", re.I)
# Answers that were begun, by the finish reason of their row.
UNFINISHED = {
    "length": _any("could not finish the message"),  # GPT-5: every token went to thoughts
    "tool_calls": _any("tool_use_failed"),
    "empty": _any("output_parse_failed|json_validate_failed"),
}
LENGTH_FIELD = _any(r"max(?:_completion|_output|_new)?_tokens|max(?:Output|New|Completion)Tokens")
NO_MODEL = _any(
    r"model_not_found|invalid_model|unknown model|no such model|(?:invalid|unsupported) model\b",
    r"model\W(?:\S+\s+){0,4}?"
    r"(?:(?:does )?not exist|not found|not a valid|is not available|is not supported|decommissioned)",
    r"not a valid model|requires terms|non-serverless model|does not support chat",
)

# How a field of the request is refused.
REFUSED = _any(
    r"n[o']t (?:\w+ )?(?:support|permit|allow|available|accept|implement|recogni|valid|defined)|unsupport",
    r"unrecogni|unknown|unexpected|extra|forbid|deprecat|invalid|only the default|must be|must not|cannot",
    r"can't|can not|no longer|remove|disallow|refus|illegal|reject|no such|omit|should be|is allowed",
    r"only (?:one|supports|be|set|\d)",
)
# Words of a field that is not taken at all, whatever its value.
UNSUPPORTED = _any(
    r"unsupport|n[o']t (?:\w+ )?(?:support|permit|allow|available|accept|implement|recogni)|unrecogni",
    r"unknown|unexpected|extra|forbid|deprecat|no longer|remove|disallow|no such|omit",
)
UNEXPECTED = _any(r"unexpected keyword|unsupportedparam")  # of a crash inside the server
INSTEAD = re.compile(r"\buse\W+(?:the )?(\w{0,20}tokens\w{0,10})", re.I)
NOT_TOGETHER = _any(r"\bboth\b|only one|together|same time")
RANGE = _any(r"less than|greater than|between|range|at most|at least|[<>]=|[≤≥]|maximum|minimum")
BUSY = _any(r"overload|try again|temporar|unavailable|time(?:d )?out|loading|capacity|busy|internal")
