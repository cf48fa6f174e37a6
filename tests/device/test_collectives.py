"""How tests read what a program sends."""

from __future__ import annotations

from collectives import collectives

PROGRAM = """
HloModule jit_f, is_scheduled=true

%add.1 (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum.1 = f32[] add(%x, %y)
}

%fused (p: f32[3,5]) -> f32[3,5] {
  ROOT %all-reduce.7 = f32[3,5]{1,0} all-reduce(%p), channel_id=1, to_apply=%add.1
}

%body.2 (carry: (s32[], f32[3,5])) -> (s32[], f32[3,5]) {
  %called = f32[3,5]{1,0} call(%carry), to_apply=%fused
}

%condition.2 (carry: (s32[], f32[3,5])) -> pred[] {
  ROOT %less = pred[] compare(%carry, %carry)
}

ENTRY %main (p: f32[7]) -> f32[7] {
  %all-gather.1 = (f32[7]{0}, s32[2,11]{1,0}) all-gather(%p, %p), dimensions={0}
  ROOT %while.1 = (s32[], f32[3,5]) while(%p), condition=%condition.2, body=%body.2
}
"""


def test_what_a_loop_calls_is_in_the_loop():
    found = sorted(collectives(PROGRAM))
    assert found == [("all-gather", 7 + 22, False), ("all-reduce", 15, True)]
