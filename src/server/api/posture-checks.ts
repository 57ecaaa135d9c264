// Posture checks: what a machine must be like to count as a source of a policy.
import { list, object, oneOf, optional, string } from '#lib/schema.ts';
import type { PostureCheck, PostureCheckId } from '#model/posture.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { descriptionField, present, unsupported } from './fields.ts';

const version = object({ min_version: string({ max: 64 }) });
const kernel = object({ min_kernel_version: string({ max: 64 }) });
const path = () => optional(string({ min: 0, max: 255 }));

const checkRequest = object({
  id: optional(string({ max: 200 })),
  name: string({ max: 255 }),
  description: descriptionField(),
  checks: object({
    nb_version_check: optional(version),
    os_version_check: optional(
      object({
        android: optional(version),
        darwin: optional(version),
        ios: optional(version),
        linux: optional(kernel),
        windows: optional(kernel),
      }),
    ),
    /** There is no database of places here. */
    geo_location_check: unsupported(),
    peer_network_range_check: optional(object({ ranges: list(string({ max: 64 }), { min: 1, max: 100 }), action: oneOf(['allow', 'deny']) })),
    process_check: optional(object({ processes: list(object({ linux_path: path(), mac_path: path(), windows_path: path() }), { min: 1, max: 20 }) })),
  }),
});

function readCheck(call: Call): Omit<PostureCheck, 'id'> {
  const { name, description, checks } = readBody(call, checkRequest);
  const { nb_version_check: client, os_version_check: os, peer_network_range_check: networks, process_check: process } = checks;
  return {
    name,
    description,
    minVersion: client?.min_version,
    systems: os && {
      android: os.android?.min_version,
      darwin: os.darwin?.min_version,
      ios: os.ios?.min_version,
      linux: os.linux?.min_kernel_version,
      windows: os.windows?.min_kernel_version,
    },
    networks,
    processes: process?.processes.map(({ linux_path: linux, mac_path: mac, windows_path: windows }) => ({ linux, mac, windows })),
  };
}

function checkShape({ id, name, description, minVersion, systems, networks, processes }: PostureCheck): Readonly<Record<string, unknown>> {
  const version = (text: string | undefined): unknown => text && { min_version: text };
  const kernel = (text: string | undefined): unknown => text && { min_kernel_version: text };
  return {
    id,
    name,
    description,
    checks: present({
      nb_version_check: version(minVersion),
      os_version_check:
        systems &&
        present({
          android: version(systems.android),
          darwin: version(systems.darwin),
          ios: version(systems.ios),
          linux: kernel(systems.linux),
          windows: kernel(systems.windows),
        }),
      peer_network_range_check: networks,
      process_check: processes && {
        processes: processes.map(({ linux, mac, windows }) => present({ linux_path: linux, mac_path: mac, windows_path: windows })),
      },
    }),
  };
}

export const listPostureChecks: Handler = async (call) => ok((await call.domain.posture.list()).map(checkShape));

export const getPostureCheck: Handler = async (call) => ok(checkShape(await call.domain.posture.get(idParam<PostureCheckId>(call))));

export const createPostureCheck: Handler = async (call) => ok(checkShape(await call.domain.posture.create(readCheck(call), call.actor)));

export const updatePostureCheck: Handler = async (call) =>
  ok(checkShape(await call.domain.posture.update(idParam<PostureCheckId>(call), readCheck(call), call.actor)));

export const deletePostureCheck: Handler = async (call) => {
  await call.domain.posture.delete(idParam<PostureCheckId>(call), call.actor);
  return deleted;
};
