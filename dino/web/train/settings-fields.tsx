/** Input fields of the settings, with their errors. */
import { type Field, type Fields, FIELDS, METHODS } from "./settings.js";

interface SettingsFieldsProps {
  readonly fields: Fields;
  readonly setFields: (fields: Fields) => void;
  readonly errors: Readonly<Partial<Record<Field, string>>>;
  readonly isBusy: boolean;
}

export function SettingsFields({ fields, setFields, errors, isBusy }: SettingsFieldsProps) {
  const names = Object.keys(FIELDS) as Field[];
  return (
    <>
      <div class="fields">
        <label>
          Method
          <select
            name="method"
            value={fields.method}
            disabled={isBusy}
            onInput={({ currentTarget: { value } }) => setFields({ ...fields, method: value as Fields["method"] })}
          >
            {Object.entries(METHODS).map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
        </label>
        {names.map((name) => (
          <label key={name}>
            {FIELDS[name]}
            <input
              class="boxed"
              name={name}
              inputMode="numeric"
              value={fields[name]}
              disabled={isBusy}
              aria-invalid={errors[name] !== undefined}
              aria-describedby={errors[name] === undefined ? undefined : `wrong-${name}`}
              onInput={({ currentTarget: { value } }) => setFields({ ...fields, [name]: value })}
            />
          </label>
        ))}
      </div>
      {names.map(
        (name) =>
          errors[name] !== undefined && (
            <p class="trouble note" id={`wrong-${name}`} key={name}>
              {errors[name]}
            </p>
          ),
      )}
    </>
  );
}
