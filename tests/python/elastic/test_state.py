"""States: what is saved, restored and sent, and who hears of hosts."""

from __future__ import annotations

import copy

import pytest
import torch

import rueda as hvd
from rueda.elastic import HostUpdateResult
from rueda.elastic.state import StateHandler, get_handler_registry, set_handler_registry
from rueda.exceptions import HostsUpdatedInterrupt


def _alone(value):
    return value


def _rank_0():
    return 0


@pytest.fixture
def make_objects():
    """Make an ObjectState of a job of one rank that needs no engine."""
    return lambda **kwargs: hvd.elastic.ObjectState(_alone, _rank_0, **kwargs)


def test_objects_go_back_to_the_last_commit(make_objects):
    state = make_objects(epoch=1, losses=[0.5])
    state.epoch = 2
    state.losses.append(0.25)
    state.restore()
    assert (state.epoch, state.losses) == (1, [0.5])
    state.epoch = 3
    state.losses.append(0.125)
    state.commit()
    for _ in range(2):
        state.losses.clear()
        state.epoch = 9
        state.restore()
        assert (state.epoch, state.losses) == (3, [0.5, 0.125])


def test_what_two_attributes_share_they_share_after_a_restore(make_objects):
    shared = [1]
    state = make_objects(one=shared, other={"inner": shared})
    state.restore()
    assert state.one is state.other["inner"]


def test_rank_0s_objects_are_everybodys_and_count_as_saved():
    sent = []

    def from_rank_0(value):
        sent.append(copy.deepcopy(value))
        return {"epoch": 7}

    state = hvd.elastic.ObjectState(from_rank_0, _rank_0, epoch=1)
    state.epoch = 2
    state.sync()
    assert sent == [{"epoch": 2}]
    assert state.epoch == 7
    state.epoch = 8
    state.restore()
    assert state.epoch == 7


@pytest.mark.parametrize("kind", ["objects", "torch"])
def test_a_name_of_a_method_is_refused(make_objects, kind):
    make = make_objects if kind == "objects" else hvd.elastic.TorchState
    with pytest.raises(ValueError, match=r"State\(commit=...\): the state has a method"):
        make(commit=1)


def test_a_reset_forgets_news_and_calls_the_callbacks_in_order(make_objects):
    state = make_objects(x=1)
    called = []
    state.register_reset_callbacks([lambda: called.append("a"), lambda: called.append("b")])
    state.register_reset_callbacks([lambda: called.append("c")])
    state.on_hosts_updated(1, HostUpdateResult.added)
    state.on_reset()
    state.check_host_updates()
    assert called == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("updates", "skip_sync"),
    [
        ([HostUpdateResult.removed], True),
        ([HostUpdateResult.added], False),
        ([HostUpdateResult.removed, HostUpdateResult.added], False),
        ([HostUpdateResult.removed, HostUpdateResult.removed], True),
    ],
)
def test_news_of_hosts_interrupt_once_and_say_whether_to_skip_the_sync(
    make_objects, updates, skip_sync
):
    state = make_objects(x=1)
    state.check_host_updates()
    hvd.elastic.notification_manager.register_listener(state)
    for timestamp, update in enumerate(updates, start=5):
        hvd.elastic.notification_manager.handle_hosts_updated(timestamp, update)
    hvd.elastic.notification_manager.remove_listener(state)
    state.x = 2
    with pytest.raises(HostsUpdatedInterrupt) as caught:
        state.commit()
    assert caught.value.skip_sync is skip_sync
    state.x = 3
    state.restore()
    assert state.x == 2  # it was saved before
    hvd.elastic.notification_manager.handle_hosts_updated(9, HostUpdateResult.added)
    state.on_hosts_updated(5, HostUpdateResult.added)
    state.check_host_updates()  # told no longer, and old news


@pytest.mark.parametrize("missing", ["save", "restore", "sync"])
@pytest.mark.parametrize("kind", [hvd.elastic.State, StateHandler])
def test_what_cannot_be_restored_is_refused_when_it_is_made(kind, missing):
    def does_nothing(self):
        pass

    names = {"save", "restore", "sync"}
    whole = type("Whole", (kind,), dict.fromkeys(names, does_nothing))
    partly = type("Partly", (kind,), dict.fromkeys(names - {missing}, does_nothing))
    arguments = (_alone, _rank_0) if kind is hvd.elastic.State else (1,)
    whole(*arguments)
    with pytest.raises(TypeError, match=f"Partly.*{missing}"):
        partly(*arguments)


class _Counter:
    def __init__(self):
        self.count = 0


class _CounterHandler(StateHandler):
    def save(self):
        self.saved = self.value.count

    def restore(self):
        self.value.count = self.saved

    def sync(self):
        self.value.count = hvd.broadcast_object(self.value.count)
        self.save()


def test_a_handler_of_the_users_own_keeps_the_object(run_ranks):
    def main():
        before = list(get_handler_registry())
        set_handler_registry([(_Counter, _CounterHandler), *before])
        counter = _Counter()
        counter.count = hvd.rank()
        state = hvd.elastic.TorchState(counter=counter)
        state.sync()
        assert counter.count == 0
        counter.count = 5
        state.restore()
        assert (counter.count, state.counter is counter) == (0, True)
        set_handler_registry(before)
        assert get_handler_registry() == before

    run_ranks(2, main)


def test_a_new_value_of_an_attribute_is_kept_instead(run_ranks):
    def main():
        state = hvd.elastic.TorchState(torch.nn.Linear(1, 1))
        other = torch.nn.Linear(1, 1)
        state.model = other
        expected = other.weight.item()
        torch.nn.init.constant_(other.weight, 3.0)
        state.restore()
        assert state.model is other
        assert other.weight.item() == expected

    run_ranks(1, main)


class _WithExtra(torch.nn.Linear):
    """A module whose state is not tensors alone."""

    note = "fresh"

    def get_extra_state(self):
        return {"note": self.note}

    def set_extra_state(self, state):
        self.note = state["note"]


def test_all_kinds_of_state_are_rank_0s_after_a_sync(run_ranks):
    def main():
        torch.manual_seed(hvd.rank())
        model = torch.nn.Sequential(_WithExtra(2, 2), torch.nn.BatchNorm1d(2))
        model[0].note = f"of rank {hvd.rank()}"
        plain = torch.optim.AdamW(model.parameters(), lr=0.1 * (1 + hvd.rank()))
        model(torch.randn(4, 2)).sum().backward()
        plain.step()
        scheduler = torch.optim.lr_scheduler.LambdaLR(plain, lambda step: 0.5**step)
        for _ in range(hvd.rank()):
            scheduler.step()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** (3 + hvd.rank()))
        scaler.scale(torch.ones(1))
        state = hvd.elastic.TorchState(
            model, plain, scheduler=scheduler, scaler=scaler, name=f"rank {hvd.rank()}"
        )
        state.sync()
        assert (state.scheduler is scheduler, state.optimizer is plain) == (True, True)
        assert scheduler.optimizer is plain

        def everything():
            tensors = [*model.state_dict().values()]
            found = [t.tolist() for t in tensors if isinstance(t, torch.Tensor)]
            moments = [entry["exp_avg"].tolist() for entry in plain.state.values()]
            numbers = (plain.param_groups[0]["lr"], scheduler.last_epoch, scaler.get_scale())
            return found, moments, numbers, model[0].note, state.name

        synced = everything()
        assert synced[3:] == ("of rank 0", "rank 0")
        # And that is what a restore goes back to.
        model[0].note = "lost"
        plain.state.clear()
        scheduler.step()
        scaler.update(64.0)
        state.name = "lost"
        for _ in range(2):
            state.restore()
            assert everything() == synced
            for entry in plain.state.values():
                entry["exp_avg"].fill_(9.0)  # what was saved is no part of it
        return synced

    first, *others = run_ranks(3, main)
    assert others == [first] * 2


def test_news_that_rank_0_hears_interrupt_all_ranks_without_a_restore(run_ranks):
    def main():
        state = hvd.elastic.TorchState(batch=0)
        seen = []
        state.register_reset_callbacks([lambda: seen.append("reset")])
        heard = [HostUpdateResult.added, HostUpdateResult.removed]

        @hvd.elastic.run
        def train(state):
            seen.append(state.batch)
            state.batch += 1  # not committed, and still not taken back
            while heard:
                update = heard.pop(0)
                if hvd.rank() == 0:
                    hvd.elastic.notification_manager.handle_hosts_updated(3 - len(heard), update)
                state.check_host_updates()
            return seen

        return train(state)

    assert run_ranks(3, main) == [[0, "reset", 1, "reset", 2]] * 3


def test_without_a_sync_a_sampler_is_shared_out_all_the_same(run_ranks):
    def main():
        sampler = hvd.elastic.ElasticSampler(range(8), shuffle=False)
        state = hvd.elastic.TorchState(sampler=sampler)
        lengths = []

        @hvd.elastic.run
        def train(state):
            lengths.append(len(sampler))
            if len(lengths) == 1:
                sampler.record_batch(0, 1)
                if hvd.rank() == 0:
                    state.on_hosts_updated(1, HostUpdateResult.removed)
                state.commit()
            return lengths

        return train(state)

    assert run_ranks(2, main) == [[4, 3]] * 2
