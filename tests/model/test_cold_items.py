"""On the generator: an item that training never saw is ranked by its category."""

import numpy as np
import torch


def test_unseen_items_of_the_right_category_outrank_others(tmp_path, make_config):
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    from recbole_ext.convert import convert
    from recbole_ext.convert.synthetic import generate

    generate(source="diginetica", out=tmp_path / "raw", scale=0.01, seed=7)
    convert("diginetica", tmp_path / "raw", tmp_path / "data" / "shop")
    config = make_config(
        "HRNNFeat",
        "shop",
        split={"session_time": [0.7, 0.0, 0.3]},
        item_features=["category"],
        embedding_size=32,
        hidden_size=32,
        train_batch_size=512,
    )
    train, _, test = data_preparation(config, create_dataset(config))
    init_seed(1, True)
    model = get_model("HRNNFeat")(config, train._dataset)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    model.train()
    for _ in range(6):
        for batch in train:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    model.eval()

    data = test._dataset
    category = data.item_feat["category"].numpy()
    cold = (~data.train_items.numpy()) & (category > 0)
    known = np.unique(category[data.train_items.numpy()])
    cold &= np.isin(category, known)
    assert cold.sum() > 100
    rows = data[np.arange(min(len(data), 1500))]
    with torch.no_grad():
        scores = model.full_sort_predict(rows).numpy()[:, cold]
    same = category[cold][None, :] == category[rows["item_id"].numpy()][:, None]  # (rows, cold items)
    usable = same.any(1)
    assert usable.sum() > 300
    # chance that a cold item of the target's category outranks one of another category
    wins = []
    for score, right in zip(scores[usable], same[usable]):
        order = np.argsort(np.argsort(score))
        wrong_below = order[right].sum() - right.sum() * (right.sum() - 1) / 2
        wins.append(wrong_below / (right.sum() * (~right).sum()))
    assert np.mean(wins) > 0.8, np.mean(wins)
