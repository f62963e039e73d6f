// How many jobs ended in each of the last hours, and how many of them failed. The sentence above says the same.

import { Text, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useMemo, useRef } from "react";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Row } from "../api/client";
import { useWords } from "../words";
import { TONES } from "../theme";
import { instant } from "./Value";

const HOURS = 12;

export default function JobChart({ jobs }: { jobs: Row[] }) {
  const w = useWords();
  const dark = useComputedColorScheme("light") === "dark";
  const { ref, width } = useElementSize();
  const box = useRef<HTMLDivElement>(null);
  const { times, good, bad } = useMemo(() => {
    const now = Math.floor(Date.now() / 3_600_000);
    const times = Array.from({ length: HOURS }, (_, i) => (now - HOURS + 1 + i) * 3600);
    const [good, bad] = [times.map(() => 0), times.map(() => 0)];
    for (const j of jobs) {
      const at = instant(j.completed ?? j.created);
      const slot = at ? times.indexOf(Math.floor(at.getTime() / 3_600_000) * 3600) : -1;
      if (slot >= 0) (Number(j.jobstatus) === 2 ? bad : good)[slot] += 1;
    }
    return { times, good, bad };
  }, [jobs]);
  const sum = (n: number[]) => n.reduce((a, b) => a + b, 0);
  useEffect(() => {
    if (!box.current || width < 50) return;
    const mode = dark ? "dark" : "light";
    const ink = dark ? "#a4adb5" : "#59626a";
    const bars = UPlot.paths.bars?.({ size: [0.6, 40] });
    const hour = (at: number) => new Intl.DateTimeFormat(w.language, { hour: "2-digit", hourCycle: "h23" }).format(at * 1000);
    const plot = new UPlot(
      {
        width, height: 110, cursor: { show: false }, legend: { show: false }, scales: { x: { time: false }, y: { range: (_, __, max) => [0, Math.max(4, max)] } },
        axes: [
          { stroke: ink, grid: { show: false }, ticks: { show: false }, size: 22, gap: 2, values: (_, at) => at.map(hour), space: 52 },
          { stroke: ink, grid: { stroke: dark ? "#272d31" : "#eff1f3", width: 1 }, ticks: { show: false }, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100] },
        ],
        series: [{}, { fill: TONES.good[mode][1], stroke: TONES.good[mode][1], paths: bars, points: { show: false } }, { fill: TONES.bad[mode][1], stroke: TONES.bad[mode][1], paths: bars, points: { show: false } }],
      },
      [times, good.map((n, i) => n + bad[i] || null), bad.map((n) => n || null)],
      box.current,
    ); // prettier-ignore
    return () => plot.destroy();
  }, [times, good, bad, width, dark, w.language]);
  return (
    <div ref={ref}>
      <Text size="sm" c="dimmed" mb={6}>{w.t("home.jobs", { hours: HOURS, all: sum(good) + sum(bad), bad: sum(bad) })}</Text>
      <div ref={box} aria-hidden />
    </div>
  );
}
