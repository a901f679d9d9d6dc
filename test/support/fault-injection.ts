type Around = (activity: string, call: () => Promise<unknown>) => Promise<unknown>;

/** The same activities, each called by `around`, which may fail before the call or after it took effect. */
export const surround = <Group extends object>(group: Group, around: Around): Group =>
  new Proxy(group, {
    get(target, name) {
      const activity: unknown = Reflect.get(target, name);
      if (typeof activity !== 'function' || typeof name !== 'string') return activity;
      return (...input: unknown[]) => around(name, () => Reflect.apply(activity, target, input));
    },
  });
