/** What the engine answers, as failures of ours; and containers that it fails to start, made anew. */
import { AppError, type Logger } from "@manyhands/kit";
import type Docker from "dockerode";

const START_FAILED = "ENGINE_START_FAILED";
const FAILED_STATUS = 500;

/** The status the engine answered with; undefined for what never was an answer. */
export function statusOf(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return undefined;
  return typeof error.statusCode === "number" ? error.statusCode : undefined;
}

/** A failure of the engine in words, with what it said. What is an AppError already stays what it is. */
export function engineError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  return AppError.unavailable("ENGINE_FAILED", `the Docker Engine: ${wordsOf(error)}`, error);
}

/** Starts a container. A failure that says nothing about the container itself is told apart: see `withNewContainer`. */
export async function startContainer(container: Docker.Container): Promise<void> {
  try {
    await container.start();
  } catch (error) {
    if (statusOf(error) !== FAILED_STATUS) throw engineError(error);
    throw AppError.unavailable(START_FAILED, `the Docker Engine started no container: ${wordsOf(error)}`, error);
  }
}

/**
 * `make` makes a container, starts it by `startContainer`, and removes it when that fails; it must be fine to do again.
 * Engines fail a start now and then for reasons of their own (runc: "cannot start an already running container"), and
 * such a container is of no use any more; the next one usually is.
 */
export async function withNewContainer<T>(attempts: number, logger: Logger, make: () => Promise<T>): Promise<T> {
  for (let left = attempts - 1; ; left--) {
    try {
      return await make();
    } catch (error) {
      if (left <= 0 || !(error instanceof AppError) || error.reason !== START_FAILED) throw error;
      logger.warn({ err: error }, "the engine started no container; another one is made");
    }
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
