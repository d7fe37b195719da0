"""Effects of segments have a size of their own, averaged over: useless segments cost next to nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prompt_oirl.features.segments import Segments
from prompt_oirl.reward_models.cells import Cells
from prompt_oirl.reward_models.effects import learn_effects
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.random_effects import (
    LOG_PRIOR,
    PRECISIONS,
    SEGMENTS_OVER_OTHERS,
    Grams,
    Spectrum,
    averaged_coefficients,
)
from prompt_oirl.reward_models.training_set import TrainingSet


def made(n: int, effect: float, levels: int, seed: int) -> tuple[TrainingSet, np.ndarray, np.ndarray]:
    """Three prompts, each of which gains `effect` logits times a normal draw per segment; phi; the gains."""
    rng = np.random.default_rng(seed)
    segment = rng.integers(levels, size=n)
    logits = effect * rng.standard_normal((levels, 3))[segment]
    labels = (rng.random((n, 3)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    names = [str(s) for s in segment]
    columns = Segments.of(names).columns(names, n)
    questions = np.concatenate([rng.standard_normal((n, 12)).astype(np.float32), columns], 1)
    train = TrainingSet(
        questions, np.eye(3, dtype=np.float32), labels, np.ones_like(labels), 8, segments=columns.shape[1]
    )
    phi = QuestionFeatures().fit(questions, 8, train.segments).of_all(train)
    return train, phi, logits - logits.mean(1, keepdims=True)


def test_segments_stand_behind_other_features_as_they_are() -> None:
    train, phi, _ = made(200, 1.0, 4, 0)
    np.testing.assert_array_equal(phi[:, -4:], train.questions[:, -4:])
    np.testing.assert_allclose(
        phi[:, :-4], QuestionFeatures().fit(train.questions[:, :-4], 8)(train.questions[:, :-4]), atol=1e-6
    )


def test_balances_are_ridge_regressions_on_stretched_columns_weighed_by_evidence() -> None:
    train, phi, _ = made(150, 1.0, 3, 1)
    cells = Cells.of(train)
    grams = Grams.of(phi, cells, shared=True)
    residual = cells.y - cells.y.mean(0)
    moments, each, stakes = phi.T @ residual, np.array([1.0, 2.0, 1.5]), np.array([1.0, 0.5, 0.2])
    noise = np.ones(3)
    spectra = [s.prompts(cells.asked) for s in Spectrum.each_balance(grams, 3)]
    found = averaged_coefficients(spectra, each * moments, each, noise, stakes)

    size, solutions, evidence = phi.shape[1], [], []
    for over in SEGMENTS_OVER_OTHERS:
        stretched = phi * np.r_[np.ones(size - 3), np.full(3, over)]
        for precision, prior in zip(PRECISIONS, LOG_PRIOR):
            columns, total = [], prior
            for j in range(3):
                matrix = each[j] * stretched.T @ stretched + precision * np.eye(size)
                right = each[j] * stretched.T @ residual[:, j]
                solved = np.linalg.solve(matrix, right)
                total += (
                    stakes[j]
                    * 0.5
                    * (size * np.log(precision) - np.linalg.slogdet(matrix)[1] + right @ solved)
                )
                columns.append(solved * np.r_[np.ones(size - 3), np.full(3, over)])
            solutions.append(np.column_stack(columns))
            evidence.append(total)
    weights = np.exp(np.array(evidence) - max(evidence))
    np.testing.assert_allclose(
        found, np.tensordot(weights / weights.sum(), np.array(solutions), 1), rtol=1e-5, atol=1e-8
    )


def test_without_segments_there_is_one_balance() -> None:
    train, phi, _ = made(100, 1.0, 3, 2)
    assert len(Spectrum.each_balance(Grams.of(phi, Cells.of(train), shared=True), 0)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_segments_that_matter_are_learned_and_useless_ones_are_not(seed: int) -> None:
    train, phi, truth = made(1500, 1.0, 8, seed)
    own, common = (learn_effects(phi, Cells.of(train), segments=s).interaction for s in (8, 0))
    truth = truth - truth.mean(0)
    assert ((truth - phi @ own) ** 2).mean() < 0.1 * (truth**2).mean()
    # Other features matter not at all, but one penalty for both leaves them larger.
    assert np.linalg.norm(own[:-8]) < 0.7 * np.linalg.norm(common[:-8])
    train, phi, _ = made(1500, 0.0, 90, seed)
    of_segments = phi[:, -90:] @ learn_effects(phi, Cells.of(train), segments=90).interaction[-90:]
    assert of_segments.std() < 0.05


def test_rows_and_subsets_keep_the_count() -> None:
    train, _, _ = made(60, 1.0, 3, 0)
    assert train.rows(np.arange(30)).segments == train.subset([0, 2]).segments == train.segments == 3
    assert replace(train, segments=0).segments == 0
