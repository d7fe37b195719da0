"""A small neural reward model (the ablation of the paper's appendix)."""

from __future__ import annotations

from typing import Any

import numpy as np

from prompt_oirl.reward_models.training_set import TrainingSet, mean_and_scale, prompt_coordinates
from prompt_oirl.stats.metrics import log_loss

HIDDEN, EPOCHS, PATIENCE, BATCH = 128, 40, 4, 1024


class MLP:
    """[question, prompt coordinates] -> 128 ReLU -> logit; AdamW, dropout, early stopping by epoch."""

    def __init__(self, seed: int = 0) -> None:
        self.settings: dict[str, Any] = {"epochs": 10}
        self._seed = seed

    def tune(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Choose the settings on `validation`; leaves the model fitted on `train`."""
        best, best_loss = 1, np.inf
        for epoch, _ in enumerate(self._train(train, EPOCHS), 1):
            loss = log_loss(
                validation.labels, self.predict(validation.questions, validation.prompts), validation.weights
            )
            if loss < best_loss:
                best, best_loss = epoch, loss
            elif epoch >= best + PATIENCE:
                break
        self.settings = {"epochs": best}
        self.fit(train)

    def fit(self, train: TrainingSet) -> None:
        """Train on all rows with the chosen settings."""
        for _ in self._train(train, self.settings["epochs"]):
            pass

    def _train(self, train: TrainingSet, epochs: int) -> Any:
        """Generator that yields after every epoch, so `tune` can look at the model between epochs."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # one thread: the same bits whatever the machine is doing
        generator = torch.Generator().manual_seed(self._seed)
        torch.manual_seed(self._seed)
        self._mean, self._scale = mean_and_scale(train.questions)
        self._coordinates = prompt_coordinates(train.prompts)
        row, column, label, weight = train.cells()
        x = torch.from_numpy(((train.questions - self._mean) / self._scale).astype(np.float32))
        z = torch.from_numpy(train.prompts @ self._coordinates)
        y, w = torch.from_numpy(label), torch.from_numpy(weight / weight.mean())
        net = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1] + z.shape[1], HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(HIDDEN, 1),
        )
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
        row_, column_ = torch.from_numpy(row), torch.from_numpy(column)
        try:
            for _ in range(epochs):
                net.train()
                for batch in torch.randperm(len(row), generator=generator).split(BATCH):
                    logits = net(torch.cat([x[row_[batch]], z[column_[batch]]], 1))[:, 0]
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(
                        logits, y[batch], weight=w[batch]
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                state = {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}
                self._w1, self._b1, self._w2, self._b2 = (
                    state[k] for k in ("0.weight", "0.bias", "3.weight", "3.bias")
                )
                yield
        finally:  # also when the caller stops early
            torch.set_num_threads(threads)

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        """Success probabilities float32 (n, m) for questions (n, d) and prompts (m, e)."""
        d = questions.shape[1]
        hidden_q = ((questions - self._mean) / self._scale) @ self._w1[:, :d].T + self._b1
        hidden_p = (prompts @ self._coordinates) @ self._w1[:, d:].T
        scores = np.empty((len(questions), len(prompts)), dtype=np.float32)
        for j, shift in enumerate(hidden_p):
            logits = np.maximum(hidden_q + shift, 0) @ self._w2[0] + self._b2[0]
            scores[:, j] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        return scores

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything `predict` needs, as plain arrays."""
        names = ("_mean", "_scale", "_coordinates", "_w1", "_b1", "_w2", "_b2")
        return {name.strip("_"): getattr(self, name) for name in names}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        for name, array in arrays.items():
            setattr(self, f"_{name}", array)
