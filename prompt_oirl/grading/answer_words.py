"""The words and signs by which models mark, announce, conclude, explain, take back and refuse an answer.

All quantifiers are bounded.
"""

from __future__ import annotations

import re

MARKED = re.compile(
    r"<answer>(.{0,2000}?)(?:</answer>|\Z|\n\n)|####\s{0,3}(?=[-+]?[.\d(])([^\n]{1,200})", re.S
)
TAG = re.compile(r"</?answer>")
_ROMANCE = r"(?:respuesta|réponse|risposta|resposta)(?: (?:correct[ae]|corretta|correta|finale?))?"
_NOUN = (
    rf"(?:answers?|(?:right|correct|best) (?:choice|option)|solution|correction|"
    rf"antwort|{_ROMANCE}|antwoord|svar|odpowiedź|cevap|jibu|ответ|答案|答え|"
    r"正解|答(?=:)|故选|정답|답|الجواب|الإجابة(?: الصحيحة)?|उत्तर|উত্তর|คำตอบ|సమాధానం)"
)
_COPULA = (
    r"(?:(?:is|are|was|would be|should be|must be|ist|lautet|beträgt|es|est|è|é|ni)(?:(?![a-z])|(?=n't))"
    r"|of(?=\s-?\d)|[-\u2014](?=\s)|(?=(?:can|could|will)[n' ]{1,2}[no]?t be\b)"
    r"|是|为|為|は|은|는|هو|هي|равен|है)"
)
STATED = re.compile(
    rf"(?<![a-z]){_NOUN}\s{{0,3}}(?:"
    # the answer is; the answer to the question is; the answer is: and the next line
    rf"(?:(?:to|of|for|für|auf)\s[^.\n]{{1,80}}?\s)?{_COPULA}\s{{0,2}}[:=]?(?:\s{{0,3}}\n{{1,3}})?"
    # Answer: 7; Answer: and one last line
    r"|[=:](?!\s{0,3}\n)|:\s{0,3}\n{1,3}(?=[^\n]{1,60}\s{0,3}\Z))"
    r"|final answer\s{0,3}:?\s{0,3}\n{1,3}|(?<![a-z])ans\s{0,2}[.:]\s{0,2}"
    r"|(?<![a-z])answer(?: to question)? \d{1,3}:\s",
    re.I,
)
# In front of "answer": one that is not meant.
NOT_MEANT = re.compile(r"\b(?:intuitive|obvious|wrong|incorrect|tempting|initial|first|common) $", re.I)
CONCLUDED = re.compile(
    r"(?:^|(?<=[.!?:\n*]) {0,3})(?:so|therefore|thus|hence|finally|in total|in conclusion|所以|因此)\b"
    r"(?!,? (?:let|we (?:need|have to|must|should|know|can (?:use|find|start|calculate|say|see|set))"
    r"|now let|first|if|how|what)\b)",
    re.I | re.M,
)

# --- what ends an answer -----------------------------------------------------------------------------

_NEXT_QUESTION = (
    r"(?:#{1,6} )?(?:(?:next |new )?(?:question|problem|exercise|instruction|input)|q|human|user|frage|"
    r"pregunta|问题|問題|задача)\s?(?:\d{1,3}\s?)?[:\n]"
)
NUMBERED = re.compile(r"(?:question|problem|exercise)\s?\d", re.I)
_EXPLANATION = (
    r"\(?(?:explanation|reasoning|justification|rationale|notes?|verification|check|why|because|"
    r"here'?s (?:why|how)|step[- ]by[- ]step|erklärung|begründung|解释|解析)\b[^\n:]{0,30}[:\n]"
)
_COURTESY = (
    r"(?:(?:please )?let me know|(?:i )?hope (?:this|that|it)|(?:please )?feel free|is there anything else|"
    r"if you (?:have|need|would like|want|'d like)|do you (?:have|want|need)|would you like|"
    r"have a (?:great|nice)|thank you|thanks for|you're welcome)\b"
)
_CHECK = (
    r"(?:to (?:verify|check|double[- ]check)|let(?:'s| us| me) (?:verify|check|double)|substituting back)\b"
)
CHECK = re.compile(rf"\s{{0,6}}{_CHECK}", re.I)
COURTESY = re.compile(rf"\s{{0,6}}{_COURTESY}", re.I)
ENDS = re.compile(
    rf"\n\s{{0,5}}(?:{_NEXT_QUESTION}|{_EXPLANATION}|{_COURTESY}|{_CHECK})"
    rf"|(?<=[.!?])\s{{1,3}}(?:{_COURTESY}|next question)",
    re.I,
)
CORRECTION = re.compile(
    r"(?:^|[.!?,\n\u2014-]\s{0,3}|(?<=[.!,]\s))(?:but )?"
    r"(?:(?:oops|(?:no )?wait|actually|no|edit|hmm|sorry)[,:.!]{1,3}\s(?:i meant\s)?"
    r"|(?:scratch that|or rather|i mean|i meant|on (?:reflection|second thought))\b[,:.!]{0,3}\s)",
    re.I,
)

# --- refusals ----------------------------------------------------------------------------------------

REFUSAL = re.compile(
    r"\b(?:can(?:no|')?t|can not|could(?:n't| not)|unable to|not able to|impossible to|not possible to)"
    r"\s(?:be\s)?(?:\w{4,12}ly\s)?(?:determined?|answer(?:ed)?|solved?|calculated?|computed?|help|assist|say"
    r"|tell|known?|provided?|give|comply|find|found)\b"
    r"|\b(?:has|have|is|there's) no (?:\w{1,12} )?(?:answer|solution)\b"
    r"|\b(?:not enough|insufficient|more|additional|further) (?:information|data|context|details)\b"
    r"|\bi (?:do not|don't) know\b|\bi(?:'m| am) (?:not sure|sorry)\b|\bno (?:way to|idea|information)\b"
    r"|\bno solutions? exists?|\bdoes not exist\b|\bundefined\b|\bplease provide\b|\bi have no\b"
    r"|\btimed out\b|\berror \d|\bno puedo\b|\bne (?:peux|sais) pas\b|\bkann (?:\w+ ){0,4}nicht\b"
    r"|\bweiß (?:ich )?nicht\b|не могу|не знаю|无法|不能确定|不知道|できません|わかりません|없습니다|모르",
    re.I,
)

# --- sentences ---------------------------------------------------------------------------------------

ABBREVIATION = re.compile(
    r"(?:\b(?:st|mr|mrs|ms|dr|prof|jr|sr|vs|no|mt|ft|gen|col|sgt|capt|lt|rev|hon|inc|ltd|co|corp|e\.g|i\.e|"
    r"approx|ca|ave|blvd|rd|fig|vol|nr)|\b[a-z](?:\.[a-z])*)\.$",
    re.I,
)
OPEN = re.compile(r"\b(?:is|are|be|of|by|gets?|equals):$", re.I)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
