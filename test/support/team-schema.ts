import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'

/** Teams with members and tasks: every constraint, every relation, both forms of state machine. */
export const teamSchema = defineSchema({
  version: 1,
  collections: {
    teams: {
      fields: { name: t.string(), parentId: t.string().optional() },
      constraints: [
        { type: 'unique', fields: ['name'], where: { parentId: null }, onConflict: 'first-write-wins' },
      ],
    },
    members: {
      fields: {
        email: t.string().optional(),
        badge: t.number().default(0),
        isActive: t.boolean().default(true),
        teamId: t.string().optional(),
        desk: t.string().optional(),
        floor: t.number().optional(),
      },
      constraints: [
        { type: 'unique', fields: ['email'], onConflict: 'last-write-wins' },
        { type: 'unique', fields: ['badge'], where: { isActive: true }, onConflict: 'server-decides' },
        { type: 'capacity', fields: ['desk', 'floor'], onConflict: 'first-write-wins' },
        {
          type: 'referential',
          fields: ['teamId'],
          where: { collection: 'teams' },
          onConflict: 'custom',
          resolve: () => null,
        },
      ],
    },
    tasks: {
      fields: {
        title: t.string(),
        teamId: t.string().optional(),
        assigneeId: t.string().optional(),
        ownerId: t.string().optional(),
        status: t.enum(['open', 'doing', 'done']).default('open'),
        review: t
          .enum(['none', 'asked', 'passed'])
          .transitions({ none: ['asked'], asked: ['none', 'passed'] })
          .optional(),
        userId: t.string().optional(),
      },
      scope: ['userId'],
      stateMachine: {
        field: 'status',
        transitions: { open: ['doing'], doing: ['open', 'done'], done: [] },
        onInvalidTransition: 'last-valid-state',
      },
    },
    notes: { fields: { text: t.string(), taskId: t.string().optional() } },
    audits: { fields: { noteId: t.string().optional(), memberId: t.string().optional() } },
  },
  relations: {
    teamParent: { from: 'teams', to: 'teams', type: 'many-to-one', field: 'parentId', onDelete: 'cascade' },
    memberTeam: { from: 'members', to: 'teams', type: 'many-to-one', field: 'teamId', onDelete: 'set-null' },
    taskTeam: { from: 'tasks', to: 'teams', type: 'many-to-one', field: 'teamId', onDelete: 'cascade' },
    taskAssignee: {
      from: 'tasks',
      to: 'members',
      type: 'many-to-one',
      field: 'assigneeId',
      onDelete: 'set-null',
    },
    taskOwner: { from: 'tasks', to: 'members', type: 'many-to-one', field: 'ownerId', onDelete: 'no-action' },
    noteTask: { from: 'notes', to: 'tasks', type: 'many-to-one', field: 'taskId', onDelete: 'cascade' },
    auditNote: { from: 'audits', to: 'notes', type: 'many-to-one', field: 'noteId', onDelete: 'restrict' },
    auditMember: {
      from: 'audits',
      to: 'members',
      type: 'many-to-one',
      field: 'memberId',
      onDelete: 'restrict',
    },
  },
})
