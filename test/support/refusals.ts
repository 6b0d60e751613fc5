import type { Device } from './device.ts'

/** Of each time that writes were refused by an error: from the sending of the oldest that was in flight to it, ms. */
export function refusalsMs(devices: readonly Device[]): number[] {
  return devices.flatMap(refusalsOfDeviceMs)
}

function refusalsOfDeviceMs({ journal }: Device): number[] {
  const refusalsMs: number[] = []
  const sentAt = new Map<string, number>()
  for (const entry of journal.entries) {
    if (entry.kind === 'sent') sentAt.set(entry.messageId, entry.at)
    if (entry.kind === 'acknowledged') sentAt.delete(entry.messageId)
    if (entry.kind === 'error' && sentAt.size > 0) refusalsMs.push(entry.at - Math.min(...sentAt.values()))
    // With its connection all that was in flight is over; what else came over it by then answers nothing.
    if (entry.kind === 'error' || (entry.kind === 'connection' && entry.state === 'offline')) sentAt.clear()
  }
  return refusalsMs
}
