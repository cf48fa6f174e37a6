"""The DeepMind Control Suite: `dmc:<domain>_<task>`, states, pixels or both.

Without pixels nothing of OpenGL is imported, so that states work where no driver is. An episode is
a function of its seed, and can be saved and put back exactly: MuJoCo's integration state, put into
an episode reset with the same seed, continues bit for bit on all tasks of the suite.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import dm_env
import numpy as np

from dreamer_jax.envs.adapters.dm_environment import DmEnvironment
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.suites.opengl import enable_rendering, import_without_rendering
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_RENDER_SIZE = (240, 320)
# The quadruped's first cameras look from afar.
_CAMERAS = {"quadruped": 2}
# Builds its terrain with the renderer's context.
_NEEDS_GL = ("quadruped_escape",)


def names() -> list[str]:
    """Return every `<domain>_<task>`."""
    return [f"{domain}_{task}" for domain, task in _suite(gl=False).ALL_TASKS]


def make(
    name: str,
    /,
    *,
    image: bool = False,
    proprio: bool = True,
    size: tuple[int, int] = (64, 64),
    camera: int = -1,
    repeat: int = 1,
    fast_render: bool = False,
) -> DmControl:
    """Build a task of the suite.

    Args:
        name: `<domain>_<task>`, for example `ball_in_cup_catch`.
        image: Whether records have pixels, key `image`.
        proprio: Whether records have the task's own observations, one key each.
        size: Height and width of the pixels.
        camera: Camera of the pixels; −1 takes the domain's usual one.
        repeat: Times each action is applied; rewards are summed.
        fast_render: Whether to leave out shadows, reflections and antialiasing: several times
            faster without a GPU, and another picture.

    Raises:
        UserError: For an unknown task, or pixels where OpenGL does not work.
    """
    suite = _suite(gl=image or name in _NEEDS_GL)
    known = {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
    if name not in known:
        raise unknown_name("dmc task", name, known)
    if not (image or proprio):
        raise UserError(f"dmc:{name} with image=False and proprio=False observes nothing")
    domain, task = known[name]
    random = np.random.RandomState(0)  # the only kind the suite takes; reseeded
    environment = suite.load(domain, task, task_kwargs={"random": random})
    pixels = (size[0], size[1]) if image else None
    return DmControl(
        environment,
        repeat=repeat,
        proprio=proprio,
        size=pixels,
        camera=_CAMERAS.get(domain, 0) if camera == -1 else camera,
        fast_render=fast_render,
    )


class DmControl(DmEnvironment):
    """A task of the suite, with pixels and snapshots."""

    def __init__(
        self,
        environment: dm_env.Environment,
        *,
        repeat: int,
        proprio: bool,
        size: tuple[int, int] | None,
        camera: int,
        fast_render: bool,
    ) -> None:
        super().__init__(environment, repeat=repeat)
        self._physics = environment.physics
        self._size, self._camera = size, camera
        self._flags = {"shadow": False, "reflection": False} if fast_render else {}
        if fast_render:
            self._physics.model.vis.quality.offsamples = 0
        if not proprio:
            self._observed = []
        obs = dict(self.spaces.obs) if proprio else {}
        if size is not None:
            obs["image"] = Space(np.dtype(np.uint8), (*size, 3))
        self.spaces = Spaces(obs, self.spaces.action)
        self._seed = 0

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._seed = seed
        return super().reset(seed)

    def render(self) -> np.ndarray | None:
        """Return a picture larger than the observed one, or None where OpenGL does not work."""
        try:
            enable_rendering()
        except UserError:
            return None
        return self._picture(_RENDER_SIZE)

    def snapshot(self) -> bytes:
        """Return the whole state of the open episode."""
        import mujoco

        model, data = self._physics.model.ptr, self._physics.data.ptr
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, state, kind)
        environment: Any = self._environment
        _, keys, position, has_gauss, gauss = environment.task.random.get_state()
        file = io.BytesIO()
        np.savez(
            file,
            seed=self._seed,
            steps=environment._step_count,
            state=state,
            keys=keys,
            random=np.array([position, has_gauss]),
            gauss=gauss,
        )
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `snapshot` returned."""
        import mujoco

        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            saved = {key: file[key] for key in file.files}
        # What the task drew into the model, such as the target's place, comes back with the seed.
        self.reset(int(saved["seed"]))
        model, data = self._physics.model.ptr, self._physics.data.ptr
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(model, data, saved["state"], kind)
        # What follows from positions and velocities is ready between the suite's steps.
        mujoco.mj_forward(model, data)
        environment: Any = self._environment
        position, has_gauss = saved["random"].tolist()
        environment.task.random.set_state(
            ("MT19937", saved["keys"], position, has_gauss, float(saved["gauss"]))
        )
        environment._step_count = int(saved["steps"])

    def _record(self, timestep: dm_env.TimeStep, record: dict[str, Any]) -> Record:
        record = super()._record(timestep, record)
        if self._size is not None:
            record["image"] = self._picture(self._size)
        return record

    def _picture(self, size: tuple[int, int]) -> np.ndarray:
        return self._physics.render(
            *size, camera_id=self._camera, render_flag_overrides=self._flags
        )


def _suite(gl: bool) -> Any:
    """Import the suite, with a renderer only if asked for."""
    (enable_rendering if gl else import_without_rendering)()
    return importlib.import_module("dm_control.suite")
