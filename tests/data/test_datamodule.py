"""From splits to batches: what is read how, in which order, by which process, and when it is distorted."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from zoo.data.augment import Augment
from zoo.data.datamodule import DataModule, Shuffle
from zoo.data.image_files import AugmentedImages
from zoo.data.preprocess import Preprocess
from zoo.data.sources import image_folder
from zoo.data.splits import InMemory, Splits

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")


def numbered(count):
    """One-pixel images that hold their own number, which is their label too."""
    numbers = torch.arange(count)
    return InMemory(numbers.float().view(-1, 1, 1, 1), numbers)


def module(train=100, validation=30, test=101, **options):
    splits = Splits(numbered(train), numbered(validation), numbered(test), (1, 1, 1), classes=("a", "b"))
    return DataModule(splits, preprocess=Preprocess((1, 1, 1), scale=1.0), **{"batch_size": 16, **options})


def at(data, *, process=0, processes=1, epoch=0, batch=0, training=True):
    """The module as one of several processes has it within a fit."""
    none = SimpleNamespace(processed=0)
    loop = SimpleNamespace(batch_idx=batch, batch_progress=SimpleNamespace(current=none, is_last_batch=False))
    data.trainer = SimpleNamespace(
        global_rank=process,
        world_size=processes,
        training=training,
        current_epoch=epoch,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=loop, epoch_progress=SimpleNamespace(current=none)),
    )
    return data


def labels(loader):
    return torch.cat([y for _, y in loader]).tolist()


class Recorder(LightningModule):
    """Keeps the batches that it is handed, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.trained.append((self.current_epoch, *batch))
        return self.weight**2

    def validation_step(self, batch, batch_idx):
        self.validated.append((self.current_epoch, *batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(data, epochs=2):
    recorder = Recorder()
    Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
    ).fit(recorder, datamodule=data)
    return recorder


# Reading


def test_batches_are_read_whole_and_never_example_by_example(monkeypatch):
    def refused(*_):
        raise AssertionError("an example was read on its own")

    monkeypatch.setattr(InMemory, "__getitem__", refused)
    data = module()
    for loader, sizes in ((data.train_dataloader(), [16] * 6 + [4]), (data.test_dataloader(), [101])):
        assert isinstance(loader, DataLoader)
        assert [len(y) for _, y in loader] == sizes


@pytest.mark.parametrize("indices", [[5, 0, 5], torch.tensor([5, 0, 5]), range(3)])
def test_a_batch_is_one_gather(indices):
    x, y = numbered(9).batch(indices)
    assert y.tolist() == list(indices)
    assert x.flatten().tolist() == list(indices)


def test_an_example_is_its_input_and_label():
    x, y = numbered(9)[4]
    assert (x.shape, x.item(), y.item()) == ((1, 1, 1), 4, 4)


@pytest.mark.parametrize(("part", "loader"), [("validation", "val_dataloader"), ("test", "test_dataloader")])
def test_a_missing_split_is_named(part, loader):
    splits = Splits(numbered(9), None, None, (1, 1, 1))
    with pytest.raises(ValueError, match=f"no {part} split"):
        getattr(DataModule(splits, preprocess=Preprocess((1, 1, 1))), loader)()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
@pytest.mark.parametrize("part", ["train", "test"])
def test_workers_read_images_to_the_same_batches_as_none(pictures, part):
    splits = image_folder.load(root=str(pictures), shape=(3, 8, 8))
    batches = []
    for workers in (0, 2):
        data = DataModule(splits, preprocess=Preprocess((3, 8, 8)), batch_size=4, seed=3, workers=workers)
        loader = getattr(data, f"{part}_dataloader")()
        assert loader.num_workers == workers
        batches.append([*loader, *loader])  # two epochs
    assert len(batches[0]) == len(batches[1]) >= 2
    for (x, y), (other_x, other_y) in zip(*batches, strict=True):
        assert x.dtype == torch.uint8
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
def test_crops_depend_on_seed_epoch_and_index_whoever_reads_them(pictures):
    splits = image_folder.load(root=str(pictures), shape=(3, 8, 8), validation=0, test=0)

    def views(epoch=0, *, seed=3, **options):
        """Every image as it is read in an epoch, by the order of files."""
        data = DataModule(splits, preprocess=Preprocess((3, 8, 8)), augment=Augment(crop=0.3), seed=seed, **options)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        x, y = (torch.cat(part) for part in zip(*batches, strict=True))
        order = [index for index, _ in loader.sampler]
        assert torch.equal(splits.train.targets[order], y)
        return torch.empty_like(x).index_copy_(0, torch.tensor(order), x), order

    first, order = views(batch_size=4)
    assert len({tuple(view.flatten().tolist()) for view in first}) == 20
    for again, _ in (views(batch_size=4, workers=2), views(batch_size=7)):
        assert torch.equal(again, first)
    for other, other_order in (views(1, batch_size=4), views(seed=4, batch_size=4)):
        assert other_order != order
        assert not (other == first).flatten(1).all(dim=1).any()
    # as another process of two would have it, and as a run that is resumed at epoch 1 would
    assert torch.equal(AugmentedImages(splits.train, Augment(crop=0.3), 3).batch([(5, 0)])[0][0], first[5])
    assert torch.equal(AugmentedImages(splits.train, Augment(crop=0.3), 3).batch([(5, 1)])[0][0], views(1)[0][5])


def test_a_fit_reads_other_crops_in_each_epoch_and_none_on_validation(pictures):
    splits = image_folder.load(root=str(pictures), shape=(1, 8, 8))
    preprocess = Preprocess((1, 8, 8), scale=1.0)

    def run(augment):
        return fitted(DataModule(splits, preprocess=preprocess, augment=augment, batch_size=4, seed=3))

    recorder = run(Augment(crop=0.3))
    views = AugmentedImages(splits.train, Augment(crop=0.3), 3)
    seen = [
        {tuple(x.flatten().tolist()) for epoch, xs, _ in recorder.trained if epoch == e for x in xs} for e in (0, 1)
    ]
    for epoch in (0, 1):  # exactly those: not cropped a second time on the device
        x, _ = views.batch([(index, epoch) for index in range(len(splits.train))])
        assert seen[epoch] == {tuple(view.flatten().tolist()) for view in x.float()}
    assert not seen[0] & seen[1]
    for _, x, _ in recorder.validated:
        assert torch.equal(x, splits.validation.batch(range(len(splits.validation)))[0].float())


def test_other_distortions_of_image_files_follow_on_the_device(pictures):
    splits = image_folder.load(root=str(pictures), shape=(1, 8, 8))
    options = {"shift": 2, "crop": 0.3, "randaugment": 1, "mixup": 1.0}
    data = DataModule(splits, preprocess=Preprocess((1, 8, 8)), augment=Augment(**options))
    assert data.device_augment == Augment(shift=2, mixup=1.0)
    in_memory = module(augment=Augment(**options))
    assert in_memory.device_augment == Augment(**options)


def test_sets_in_memory_use_no_workers():
    assert module(workers=2).train_dataloader().num_workers == 0


# Order


def test_an_epoch_holds_every_example_once():
    order = labels(module().train_dataloader())
    assert sorted(order) == list(range(100))
    assert order != sorted(order)


def test_order_is_a_function_of_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = Shuffle(100, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    torch.manual_seed(1)
    first = order(1, 3)
    torch.manual_seed(2)
    assert order(1, 3) == first
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16


@pytest.mark.parametrize("augment", [None, Augment(shift=1, flip=True, rotation=5, erase=0.3, crop=0.5, mixup=1)])
def test_loading_neither_reads_nor_advances_the_global_generator(augment):
    data = at(module(augment=augment))
    data.splits = replace(data.splits, classes=tuple(map(str, range(101))))
    before = torch.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            data.on_after_batch_transfer(batch, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fit_shuffles_again_each_epoch_and_another_fit_repeats_it():
    runs = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        recorder = fitted(module(seed=5))
        runs.append([[n for epoch, _, y in recorder.trained if epoch == e for n in y.tolist()] for e in range(2)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    assert [sorted(epoch) for epoch in runs[0]] == [list(range(100))] * 2


# Processes


@pytest.mark.parametrize(("length", "processes"), [(100, 2), (101, 2), (103, 4), (7, 3), (5, 1)])
def test_shares_of_a_training_epoch_are_equal_and_disjoint(length, processes):
    samplers = [Shuffle(length, seed=1, process=process, processes=processes) for process in range(processes)]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(sampler) for sampler in samplers} == {length // processes}
    together = [index for share in shares for index in share]
    assert len(set(together)) == len(together)
    assert set(together) <= set(range(length))


def test_examples_that_sit_an_epoch_out_change_from_epoch_to_epoch():
    left_out = set()
    for epoch in range(20):
        samplers = [Shuffle(11, seed=1, process=process, processes=2) for process in range(2)]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        left_out |= set(range(11)) - {index for sampler in samplers for index in sampler}
    assert len(left_out) > 5


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_the_batch_size_is_that_of_all_processes_together(processes):
    batches = [list(at(module(), process=p, processes=processes).train_dataloader()) for p in range(processes)]
    assert {len(of_process) for of_process in batches} == {len(batches[0])}  # so that none waits for another
    assert sum(len(of_process[0][1]) for of_process in batches) == -(-16 // processes) * processes


@pytest.mark.parametrize("loader", ["val_dataloader", "test_dataloader"])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_covers_every_example_once(processes, loader):
    data = module(validation=30, test=101)
    shares = [labels(getattr(at(data, process=p, processes=processes), loader)()) for p in range(processes)]
    assert sorted(n for share in shares for n in share) == list(range(30 if loader == "val_dataloader" else 101))


# Augmentation


def distorted(seed=1, part="training", **place):
    x = torch.randint(1, 256, (8, 1, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = module(augment=Augment(shift=3), seed=seed)
    data.preprocess = Preprocess((1, 9, 9))
    out, _ = at(data, training=part == "training", **place).on_after_batch_transfer((x, torch.zeros(8)), 0)
    return out, x / 255


def test_distortions_are_for_training_only():
    out, x = distorted(part="evaluation")
    torch.testing.assert_close(out, x)
    out, x = distorted(part="training")
    assert out.shape == x.shape
    assert not torch.allclose(out, x)


def test_distortions_are_a_function_of_seed_epoch_batch_and_process():
    places = [
        {"seed": seed, "epoch": epoch, "batch": batch, "process": process}
        for seed in (1, 2)
        for epoch in (0, 1)
        for batch in (0, 1)
        for process in (0, 1)
    ]
    outs = [distorted(**place)[0] for place in places]
    torch.manual_seed(0)
    assert all(torch.equal(distorted(**place)[0], out) for place, out in zip(places, outs, strict=True))
    assert len({tuple(out.flatten().tolist()) for out in outs}) == len(places)


def test_training_batches_are_mixed_to_probabilities_and_others_are_not():
    data = module(augment=Augment(mixup=1.0))
    data.splits = replace(data.splits, classes=("a", "b", "c"))
    x, y = torch.arange(4.0).view(4, 1, 1, 1), torch.tensor([0, 1, 2, 1])
    out, probabilities = at(data).on_after_batch_transfer((x, y), 0)
    assert probabilities.shape == (4, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    share = probabilities[0, 0]
    torch.testing.assert_close(out, share * x + (1 - share) * x.roll(1, 0))
    again = at(data).on_after_batch_transfer((x, y), 0)
    assert torch.equal(again[0], out)
    assert not torch.equal(at(data, batch=1).on_after_batch_transfer((x, y), 0)[0], out)
    out, labels = at(data, training=False).on_after_batch_transfer((x, y), 0)
    assert torch.equal(out, x)
    assert labels is y


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_needs_classes(name):
    splits = Splits(numbered(9), None, None, (1, 1, 1), num_targets=1)
    with pytest.raises(ValueError, match=r"dataset\.augment\.mixup and cutmix need one class per example"):
        DataModule(splits, preprocess=Preprocess((1, 1, 1)), augment=Augment(**{name: 0.5}))


def test_a_fit_distorts_training_batches_each_time_and_validation_never():
    x = torch.randint(1, 256, (6, 1, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    examples = InMemory(torch.cat([x, x]), torch.arange(12))  # every image twice
    splits = Splits(examples, InMemory(x, torch.arange(6)), None, (1, 9, 9))

    def run():
        data = DataModule(splits, preprocess=Preprocess((1, 9, 9)), augment=Augment(shift=3), batch_size=4, seed=1)
        return fitted(data)

    recorder, again = run(), run()
    seen = torch.cat([x for _, x, _ in recorder.trained])  # two epochs of 12
    assert len(seen) == 24
    assert len(seen.unique(dim=0)) > 20  # 4 views of each image, out of 49
    assert all(torch.equal(x, other) for (_, x, _), (_, other, _) in zip(recorder.trained, again.trained, strict=True))
    for _, out, _ in recorder.validated:
        torch.testing.assert_close(out, x / 255)
