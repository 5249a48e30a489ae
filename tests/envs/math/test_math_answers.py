r"""What ends a solution and what does not; and which answers a person would call right.

Sentences of our own, after reports of other projects: evaluation harnesses that take the next word for the answer
(opencompass, lm-evaluation-harness, verl), and here a sentence that is taken for an answer ends the episode.
"""

# ruff: noqa: RUF001

import pytest
from oreo_envs.math import extract_answer, grade, states_answer
from oreo_envs.math.grading.number_words import read_number_words

ON_THE_WAY = [
    # about the answer
    "The answer is a whole number.", "The answer is in litres.", "The answer is between 10 and 20.",
    "The answer is greater than 7.", "The answer is less than 7 pages.", "The answer is half of 36.",
    "The answer is x.", "The answer is twice that.", "The answer is the sum of both prices.",
    "The answer is 2 digits long.", "The answer is the same as before.", "The answer is 3 times 6.",
    "The answer is 7 more than 12.", "The answer depends on how many tickets are left.",
    "The answer will be positive.", "The answer should be about twice as large.", "The answer is 5 or 6.",
    "The answer is odd because both are.", "Our answer must be even.", "The answer has two parts.",
    "Now we can answer the question.", "To answer this, compute 4 * 9 = 36.", "The answer:",
    "The question asks for litres; the answer is in litres.", "The answer is\n", "Answer: let me see",
    # conditions, guesses, questions, corrections
    "Suppose the answer is 12.", "If the answer is 12, then each has 4.", "Is the answer 12?",
    "Let's check whether the answer is 12.", "The answer is not 12.", "The answer cannot be 12.",
    "The answer is 12? No, that is too small.", "One might think the answer is 12.", "Maybe the answer is 30.",
    "The answer is probably 30.", "The answer would be 12 if there were 2 boxes.",
    "The answer is 30 if every box is full.", "We expect the answer to be 30.",
    "The answer is 12. Wait, one box is missing.", "The answer is 12. But we still have to subtract.",
    "Is 6 the answer?",
    # somebody else's, or a part's
    "His answer is 12.", "Tom's answer is 6.", "My first answer is 5.", "Bob says the answer is 12.",
    "The answer to the first part is 6.", "The answer to part (a) is 6.", "An intermediate answer is 6.",
    "6 is the answer to the first question.", "The answer is 6 per box, so we go on.",
    # headings, and marks with nothing in them
    "#### Solution", "#### Step 2: add", "#### Step 2", "#### 1. Find the cost of the pens",
    "#### Calculate the total", "#### Total pens:", "#### Answer", "#### Understanding the problem",
    r"\boxed{}", r"\boxed{?}", r"I will put it into \boxed{answer}.", "<answer></answer>", "<answer>...</answer>",
    "<answer>your answer here</answer>", r"\boxed{31",
]  # fmt: skip
STATED = [
    ("#### 31", "31"), ("#### $31", "31"), ("#### 31 litres", "31"), ("#### -5", "-5"), ("#### yes", "yes"),
    ("#### [1, 2, 3]", "[1, 2, 3]"), ("#### 1/2", "0.5"), ("#### x = 5", "5"), ("#### Answer: 31", "31"),
    ("#### 4*9=36", "36"), (r"\boxed{31}", "31"), (r"So there are $\boxed{31}$ pens.", "31"),
    (r"\boxed{\text{even}}", "even"), ("<answer>31</answer>", "31"), ("<answer>blue</answer>", "blue"),
    ("The answer is 31.", "31"), ("The answer is 31", "31"), ("The answer is: 31", "31"),
    ("So the answer is 31 pens.", "31"), ("Thus, the final answer is $31$.", "31"),
    ("Therefore, the answer is **31**.", "31"), ("**Answer: 31**", "31"), ("Answer: 31", "31"),
    ("Final answer: 31 dollars", "31"), (r"The final answer is \(31\).", "31"),
    (r"The answer is \frac{1}{2}.", "1/2"), (r"The answer is $\frac{1}{2}$.", "1/2"),
    ("The answer is 1,234.", "1234"), ("The answer is 50%.", "50"), ("The answer is (C).", r"\text{(C)}"),
    ("The answer is (C) 31.", "C"), ("The answer is x = 5.", "5"), ("The answer is 4 * 9 = 36.", "36"),
    ("The answer is thirty-one.", "31"), ("The answer is eleven pens.", "11"),
    ("Since 4 * 9 = 36, the answer is 36.", "36"), ("We get that the answer is 36.", "36"),
    ("### Answer 31", "31"), ("### Final Answer\n\n**31**", "31"), ("31 is the answer.", "31"),
    ("So 31 pens is the final answer.", "31"), ("The answer to the problem is 31.", "31"),
    ("The correct answer is 31.", "31"), ("the answer would be 31.", "31"), ("答案是 31", "31"),
    ("La respuesta es 31.", "31"), ("La réponse est 31.", "31"), ("Die Antwort ist 31.", "31"), ("Ответ: 31", "31"),
    ("The answer is 31, altogether.", "31"), ("The answer is 72 miles per hour.", "72"),
    ("The answer is $18.00.", "18"), ("ans = 31", "31"), ("The answer is 3.5 hours.", "3.5"),
    ("The answer is -3.", "-3"), ("The answer is 18 square feet.", "18"), ("4 * 9 = 36. The answer is 36.", "36"),
    ("Final Answer: The final answer is $31$. I hope it is correct.", "31"),
]  # fmt: skip
RIGHT = [
    (r"\boxed{\text{The total is 460}}", "460"), (r"\boxed{\text{Answer: }7}", "7"),
    ("The answer is not 5 but 6.", "6"), ("The answer is not 5, it is 6.", "6"), ("Answer:\n31", "31"),
    ("The answer is\n\n$$31$$", "31"), ('{"reasoning": "4 + 3", "answer": 7}', "7"), ('{"answer": "7"}', "7"),
    ("The answer (in cents) is 75.", "75"), ("The answer for the whole week is 75.", "75"),
    ("The answer is therefore 75.", "75"), ("The answer is approximately 3.14", "3.14"),
    ("The answer comes out to 75.", "75"), ("The answer equals 75", "75"), ("The answer is 3, 5, and 7.", "7,5,3"),
    ("#### 7\n\nQuestion: What is 2 + 2?\nAnswer: 4\n#### 4", "7"),
    ("The answer is 7.\n\nQ: What is 2 + 2?\nA: The answer is 4.", "7"),
    (r"\boxed{7}" + "\n\nProblem: How many?\n" + r"\boxed{4}", "7"),
    (r"\boxed{\textbf{(D)}\ 30}", "D"), ("The answer is (D) 30.", r"\text{(D)}"), ("D. 30", "D"), ("D) 30", "(D)"),
    ("#### 1 234 567", "1234567"), ("#### 1.234,5", "1234.5"), ("#### forty-two", "42"),
    ("#### one hundred and five", "105"), ("#### two thousand three hundred", "2300"), ("#### minus three", "-3"),
    ("#### two and a half", "2.5"), ("#### twelve eggs", "12"), ("12", r"\text{twelve}"),
    (r"\boxed{0.\overline{27}}", r"\frac{3}{11}"), (r"\boxed{1.2\overline{3}}", r"\frac{37}{30}"), ("0.(6)", "2/3"),
    ("#### 3 + 4 = 7", "7"), (r"\boxed{6 \times 7 = 42}", "42"), ("#### Total: 42", "42"),
    ("The answer is **$42**.", "42"), (r"The answer is \[42\]", "42"), ("A resposta é 42.", "42"),
    ("La risposta è 42.", "42"), ("答えは42", "42"), ("정답은 42", "42"), ("答案：42。", "42"),
]  # fmt: skip
WRONG = [
    (r"\boxed{\text{The answer is 460}}", "46"), ("The answer is not 5 but 6.", "5"), ("The answer is not 5.", "5"),
    (r"\boxed{7} or rather \boxed{8", "7"), (r"\boxed{\textbf{(D)}\ 30}", "B"), ("(D) B", "B"), ("BD", "B"),
    ("#### 1 234", "1"), ("#### 1.234,50", "1.2345"), ("#### 1.234", "1234"), ("#### twenty one hundred", "21"),
    ("#### two three", "5"), ("#### two million", "2"), ("#### three dozen", "3"), ("0.(6)", "0.6"),
    (r"0.\overline{3}", "0.3"), ("#### 3 + 4 = 7", "3"), ("#### eighty", "18"), ("#### one half", "1"),
    ("#### 7\n\nQuestion: What is 2 + 2?\nAnswer: 4\n#### 4", "4"), ("#### twelve or eleven", "12"),
    ("#### one and two", "1"), ("The answer is 3, 5, and 7.", "3"), ("#### 12 dozen", "12"),
]  # fmt: skip


@pytest.mark.parametrize("step", ON_THE_WAY)
def test_a_sentence_on_the_way_ends_nothing(step):
    assert not states_answer(step)
    assert not states_answer(step.replace("\n", " "))


@pytest.mark.parametrize(("step", "gold"), STATED)
def test_a_stated_answer_ends_and_is_graded(step, gold):
    assert states_answer(step)
    assert grade(step, gold)


@pytest.mark.parametrize(("said", "gold"), RIGHT)
def test_what_a_person_calls_right(said, gold):
    assert grade(said, gold), extract_answer(said)


@pytest.mark.parametrize(("said", "gold"), WRONG)
def test_what_a_person_calls_wrong(said, gold):
    assert not grade(said, gold), extract_answer(said)


@pytest.mark.parametrize(
    "monster", ["the answer " * 50_000, "answer:\n" * 50_000, "1 is " * 100_000, "\nQ: " * 50_000]
)
def test_reading_takes_time_in_proportion_to_the_length(monster):
    import time

    start = time.perf_counter()
    extract_answer(monster), states_answer(monster)
    assert time.perf_counter() - start < 5


def test_every_number_below_a_million_has_words():
    """Against a speller of numbers that is written the other way round."""
    small = (  # noqa: SIM905
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen"
    ).split()
    tens = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905

    def spell(n: int) -> str:
        if n < 20:
            return small[n]
        if n < 100:
            return tens[n // 10] + (f"-{small[n % 10]}" if n % 10 else "")
        if n < 1000:
            return f"{small[n // 100]} hundred" + (f" and {spell(n % 100)}" if n % 100 else "")
        return f"{spell(n // 1000)} thousand" + (f" {spell(n % 1000)}" if n % 1000 else "")

    for n in [*range(0, 2000), *range(2000, 1_000_000, 997)]:
        assert read_number_words(spell(n)) == n
