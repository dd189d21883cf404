/** Detects the launcher of this process: mpirun and srun pass rank and world size in environment variables. */

/** Rank and size of a process in a world of several. */
export interface Launch {
  /** Name of the launcher, for messages. */
  readonly launcher: "mpirun of Open MPI" | "mpirun of MPICH" | "srun";
  readonly rank: number;
  readonly size: number;
  /** Rank among the `localSize` processes on the same machine. */
  readonly localRank: number;
  readonly localSize: number;
}

/** Environment variables of each launcher for size, rank, local rank and local size. */
const LAUNCHERS = [
  {
    launcher: "mpirun of Open MPI",
    names: ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
  },
  // sbatch starts one process but sets SLURM_NTASKS too; only srun sets SLURM_STEP_NUM_TASKS
  { launcher: "srun", names: ["SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"] },
  { launcher: "mpirun of MPICH", names: ["PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"] },
] as const satisfies readonly { readonly launcher: Launch["launcher"]; readonly names: readonly string[] }[];

/** Reads rank and size from the environment; returns undefined if the process was started alone. */
export function launchOf(env: Readonly<Record<string, string | undefined>>): Launch | undefined {
  for (const { launcher, names } of LAUNCHERS) {
    const [size, rank, localRank, localSize] = names.map((name) => parseInt(env[name] ?? "", 10)); // one is "2(x3)"
    if (!(size! > 1) || Number.isNaN(rank)) continue;
    const known = (value: number | undefined, instead: number): number => (Number.isNaN(value) ? instead : value!);
    const localRanks = { localRank: known(localRank, rank!), localSize: known(localSize, 1) };
    return { launcher, rank: rank!, size: size!, ...localRanks };
  }
  return undefined;
}
